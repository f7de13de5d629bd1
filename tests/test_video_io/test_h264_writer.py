# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import resource
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from refinevis_mm.video_io import H264Writer, VideoFileSource
from tests.test_video_io.videos import gray, noise, times, values

COLORS = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (40, 90, 200)]


def write(path, images, ticks=None, fps=10.):
    height, width = images[0].shape[:2]
    with H264Writer(path, fps, (width, height)) as writer:
        for index, image in enumerate(images):
            writer.write(image, ticks and ticks[index])
    assert writer.num_frames == len(images)


def test_what_browsers_need(tmp_path):
    """H.264, 4:2:0, and the index before the frames."""
    path = tmp_path / 'v.mp4'
    write(path, [gray(20), gray(40)])
    with av.open(str(path)) as file:
        codec = file.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ('h264', 'yuv420p')
        assert not codec.has_b_frames
    content = path.read_bytes()
    assert content[4:12] == b'ftypisom'
    assert 0 < content.index(b'moov') < content.index(b'mdat')
    assert [file.name for file in tmp_path.iterdir()] == ['v.mp4']


def test_colors(tmp_path):
    path = tmp_path / 'v.mp4'
    images = [np.full((48, 64, 3), color, np.uint8) for color in COLORS]
    write(path, images)
    reader = cv2.VideoCapture(str(path))
    for frame, color in zip(VideoFileSource(path), COLORS):
        other = reader.read()[1]
        assert np.abs(frame.image.astype(int) - color).max() <= 6
        assert np.abs(other.astype(int) - color).max() <= 6


def test_quality(tmp_path):
    """At least 35 dB on a smooth picture that moves."""
    path = tmp_path / 'v.mp4'
    base = cv2.resize(noise(1, 6, 8)[0], (320, 240))
    images = [np.roll(base, 4 * k, 1) for k in range(8)]
    write(path, images)
    for frame, image in zip(VideoFileSource(path), images):
        assert cv2.PSNR(frame.image, image) > 35


def test_odd_size_is_padded_with_the_edge(tmp_path):
    path = tmp_path / 'v.mp4'
    image = gray(40, 47, 63)
    image[:, -1], image[-1] = 200, 200
    write(path, [image])
    (frame, ) = VideoFileSource(path)
    assert frame.image.shape == (48, 64, 3)
    assert frame.image[10, 62:].mean() == pytest.approx(200, abs=8)
    assert frame.image[46:, 10].mean() == pytest.approx(200, abs=8)


def test_times_are_kept(tmp_path):
    path = tmp_path / 'v.mp4'
    ticks = [12.5, 12.6, 12.75, 12.7501, 13.4, 20.277]
    write(path, [gray(20 * k) for k in range(6)], ticks)
    assert times(VideoFileSource(path)) == pytest.approx(
        [0, .1, .25, .2501, .9, 7.777], abs=1e-9)
    with av.open(str(path)) as file:  # the last frame takes 1 / fps
        stream = file.streams.video[0]
        assert float(stream.duration * stream.time_base) == 7.877


def test_constant_rate(tmp_path):
    path = tmp_path / 'v.mp4'
    write(path, [gray(20 * k) for k in range(4)], fps=30000 / 1001)
    source = VideoFileSource(path)
    assert source.fps == pytest.approx(29.97, abs=1e-3)
    assert times(source) == pytest.approx(
        np.arange(4) * 1001 / 30000, abs=1e-5)
    assert values(source) == pytest.approx([0, 20, 40, 60], abs=4)


@pytest.mark.parametrize('time, reason', [
    (1., r'times of frames must grow, got 1.0\d* s after 1.0\d* s'),
    (.5, r'times of frames must grow, got 0.5\d* s after'),
    (None, 'all frames of a video must have a time, or none'),
])
def test_refused_times(tmp_path, time, reason):
    with pytest.raises(ValueError, match=reason):
        with H264Writer(tmp_path / 'v.mp4', 10., (64, 48)) as writer:
            writer.write(gray(0), 1.)
            writer.write(gray(0), time)
    assert not list(tmp_path.iterdir())  # nothing is left


def test_refused_frames(tmp_path):
    writer = H264Writer(tmp_path / 'v.mp4', 10., (64, 48))
    with pytest.raises(ValueError, match='frames must be 64 x 48, got 70 x 5'):
        writer.write(gray(0, 50, 70))
    with pytest.raises(ValueError, match='a frame must be an array'):
        writer.write(gray(0).astype(float))
    with pytest.raises(ValueError, match='v.mp4" has no frame'):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_abandoned_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / 'v.mp4'
    path.write_text('old')
    writer = H264Writer(path, 10., (64, 48))
    writer.write(gray(0))
    assert path.read_text() == 'old'
    writer.discard()
    assert [file.name for file in tmp_path.iterdir()] == ['v.mp4']
    assert path.read_text() == 'old'


def test_full_disk_is_noticed(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(OSError, match='"v.mp4" could not .*: File too'):
            write(tmp_path / 'v.mp4', list(noise(30)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_names_that_look_like_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'run:1').mkdir()
    write('run:1/v.mp4', [gray(40)])
    assert [file.name for file in (tmp_path / 'run:1').iterdir()] == ['v.mp4']
    assert values(VideoFileSource('run:1/v.mp4')) == pytest.approx([40], abs=4)


def test_other_errors_are_no_full_disk(tmp_path, monkeypatch):
    writer = H264Writer(tmp_path / 'v.mp4', 10., (64, 48))

    def mux(packet):
        raise av.error.InvalidDataError(1, 'Invalid data found')

    broken = SimpleNamespace(mux_one=mux, close=writer._file.container.close)
    monkeypatch.setattr(writer._file, 'container', broken)
    with pytest.raises(OSError, match='completely: Invalid data found'):
        for image in noise(60):
            writer.write(image)
    assert not list(tmp_path.iterdir())


def test_no_folder(tmp_path):
    with pytest.raises(OSError, match='v.mp4" cannot be written: No such'):
        H264Writer(tmp_path / 'absent' / 'v.mp4', 10., (64, 48))


def test_no_encoder(tmp_path, monkeypatch):

    def codec(name, mode):
        raise ValueError(name)

    monkeypatch.setattr(av, 'Codec', codec)
    with pytest.raises(RuntimeError, match='no libx264 .*pip install'):
        H264Writer(tmp_path / 'v.mp4', 10., (64, 48))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('fps', [0, -1, float('nan'), 90001])
def test_refused_fps(tmp_path, fps):
    with pytest.raises(
            ValueError, match=f'positive, at most 90000, got {fps}'):
        H264Writer(tmp_path / 'v.mp4', fps, (64, 48))


@pytest.mark.parametrize('size', [(0, 48), (64, 16385)])
def test_refused_sizes(tmp_path, size):
    with pytest.raises(ValueError, match='16384 pixels per side, got'):
        H264Writer(tmp_path / 'v.mp4', 10., size)
    assert not list(tmp_path.iterdir())


def test_smallest_size(tmp_path):
    write(tmp_path / 'v.mp4', [gray(40, 1, 1)])
    (frame, ) = VideoFileSource(tmp_path / 'v.mp4')
    assert frame.image.shape == (2, 2, 3)
