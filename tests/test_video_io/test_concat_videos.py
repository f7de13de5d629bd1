# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import resource

import av
import numpy as np
import pytest

from refinevis_mm.video_io import H264Writer, VideoFileSource, concat_videos
from tests.test_video_io.videos import gray, noise, times, values

TIMES = [12.5, 12.6, 12.75, 12.7501, 13.4, 13.5, 20.277, 20.3]
PARTS = (0, 2, 5, 8)


def write(path, first, last, timed=True, size=(64, 48)):
    """Frames of grey 20 * k."""
    with H264Writer(path, 10., size) as writer:
        for k in range(first, last):
            writer.write(
                gray(20 * k, size[1], size[0]), TIMES[k] if timed else None)
    return path


def packets(path):
    with av.open(str(path)) as file:
        return [(packet.pts, packet.dts, packet.duration)
                for packet in file.demux(video=0)]


@pytest.mark.parametrize('timed', [True, False])
def test_equal_to_one_file(tmp_path, timed):
    whole = write(tmp_path / 'whole.mp4', 0, 8, timed)
    parts = [
        write(tmp_path / f'{first}.mp4', first, last, timed)
        for first, last in zip(PARTS, PARTS[1:])
    ]
    concat_videos(parts, tmp_path / 'joined.mp4')
    assert packets(tmp_path / 'joined.mp4') == packets(whole)
    joined = VideoFileSource(tmp_path / 'joined.mp4')
    expected = np.subtract(TIMES, 12.5) if timed else np.arange(8) / 10
    assert times(joined) == pytest.approx(expected, abs=1e-9)
    assert values(joined) == pytest.approx(range(0, 160, 20), abs=4)
    assert values(joined) == values(VideoFileSource(whole))
    content = (tmp_path / 'joined.mp4').read_bytes()
    assert content.index(b'moov') < content.index(b'mdat')


def test_joined_files_can_be_joined(tmp_path):
    parts = [
        write(tmp_path / f'{first}.mp4', first, last)
        for first, last in zip(PARTS, PARTS[1:])
    ]
    concat_videos(parts[1:], tmp_path / 'end.mp4')
    concat_videos([parts[0], tmp_path / 'end.mp4'], tmp_path / 'all.mp4')
    assert times(VideoFileSource(tmp_path / 'all.mp4')) == pytest.approx(
        np.subtract(TIMES, 12.5), abs=1e-9)


@pytest.mark.parametrize('second, reason', [
    (dict(first=1, last=4), 'b.mp4" must begin after the one before it ends'),
    (dict(first=4, last=6, timed=False), 'b.mp4" must have frame times like'),
    (dict(first=4, last=6, size=(64, 64)), 'b.mp4" must be written by H264'),
])
def test_parts_that_do_not_fit(tmp_path, second, reason):
    parts = [
        write(tmp_path / 'a.mp4', 0, 3),
        write(tmp_path / 'b.mp4', **second)
    ]
    with pytest.raises(ValueError, match=reason):
        concat_videos(parts, tmp_path / 'joined.mp4')
    assert len(list(tmp_path.iterdir())) == 2


def test_names_that_look_like_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = [write('a:0.mp4', 0, 3), write('a:1.mp4', 4, 6)]
    concat_videos(parts, 'a:2.mp4')
    assert len(times(VideoFileSource('a:2.mp4'))) == 5


def test_unreadable_parts(tmp_path):
    with pytest.raises(ValueError, match='needs at least one, got none'):
        concat_videos([], tmp_path / 'joined.mp4')
    with pytest.raises(ValueError, match='a.mp4" cannot be read: No such'):
        concat_videos([tmp_path / 'a.mp4'], tmp_path / 'joined.mp4')
    assert not list(tmp_path.iterdir())


def test_full_disk_is_noticed(tmp_path):
    with H264Writer(tmp_path / 'a.mp4', 10., (64, 48)) as writer:
        for image in noise(20):
            writer.write(image)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(OSError, match='completely: File too large'):
            concat_videos([tmp_path / 'a.mp4'], tmp_path / 'joined.mp4')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']
