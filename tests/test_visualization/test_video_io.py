# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import resource

import cv2
import numpy as np
import pytest

from refinevis_mm.visualization import (ImageFilesSource, VideoSink,
                                        open_source, output_folder,
                                        write_image)


def gray(value, height=48, width=64):
    return np.full((height, width, 3), value, np.uint8)


def write_frames(folder, names):
    """Frame k has the grey value 20 * k."""
    for k, name in enumerate(names):
        cv2.imwrite(str(folder / name), gray(20 * k))


def values(source):
    return [int(round(frame.mean())) for frame in source]


@pytest.fixture
def video(tmp_path):
    """Six frames of grey 0, 20, 40 ..., 5 frames per second."""
    path = tmp_path / 'video.mp4'
    sink = VideoSink(path, 5., (64, 48))
    for k in range(6):
        sink.write(gray(20 * k))
    sink.close()
    return path


def test_video_round_trip(video):
    source = open_source(str(video))
    assert (source.num_frames, source.fps) == (6, 5.)
    for _ in range(2):  # can be read again
        assert values(source) == pytest.approx(range(0, 120, 20), abs=4)
    assert open_source(str(video), fps=30).fps == 30


def test_folder_is_sorted_by_number(tmp_path):
    write_frames(tmp_path, ['f2.png', 'f9.png', 'f10.png'])
    (tmp_path / 'notes.txt').write_text('no frame')
    source = open_source(str(tmp_path))
    assert (source.num_frames, source.fps) == (3, 10.)
    assert values(source) == [0, 20, 40]


def test_glob_and_single_image(tmp_path):
    write_frames(tmp_path, ['a_1.png', 'a_2.png', 'b_1.png'])
    assert values(open_source(str(tmp_path / 'a_*.png'))) == [0, 20]
    assert values(open_source(str(tmp_path / 'b_1.png'))) == [40]


@pytest.mark.parametrize('name, content, reason', [
    ('absent.mp4', None, 'does not exist'),
    ('empty.mp4', b'', 'is empty'),
    ('text.mp4', b'this is no video' * 50, 'cannot be read as a video'),
    ('no_*.png', None, 'holds no images'),
    ('.', None, 'holds no images'),
])
def test_refused_inputs(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, OSError), match=reason):
        open_source(str(tmp_path / name))


def test_fps_must_be_positive(video):
    with pytest.raises(ValueError, match='fps must be positive, got 0'):
        open_source(str(video), fps=0)


@pytest.mark.parametrize('size', [0, 400])
def test_corrupt_frame_is_named(tmp_path, size):
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3))
    for k in range(3):
        cv2.imwrite(str(tmp_path / f'{k}.jpg'), noise)
    damaged = tmp_path / '1.jpg'
    damaged.write_bytes(damaged.read_bytes()[:size])
    frames = iter(open_source(str(tmp_path)))
    next(frames)
    with pytest.raises(ValueError, match='1.jpg" cannot be read'):
        next(frames)
    kept = open_source(str(tmp_path), allow_damaged=True)
    assert len(list(kept)) == 2


def test_frames_of_another_size_are_refused(tmp_path):
    write_frames(tmp_path, ['0.png'])
    cv2.imwrite(str(tmp_path / '1.png'), gray(1, 50, 70))
    with pytest.raises(ValueError, match='1.png" must be 64 x 48 .* 70 x 50'):
        list(open_source(str(tmp_path)))


def test_no_files_and_only_damaged_files(tmp_path):
    with pytest.raises(ValueError, match='got no files'):
        ImageFilesSource([])
    (tmp_path / '0.png').write_bytes(b'x')
    with pytest.raises(ValueError, match='none of 1 frames'):
        list(open_source(str(tmp_path), allow_damaged=True))


def test_video_that_ends_early(tmp_path):
    path = str(tmp_path / 'cut.avi')
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), 10,
                             (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(9):
        writer.write(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8))
    writer.release()
    content = (tmp_path / 'cut.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(content[:len(content) // 2])
    source = open_source(path)
    with pytest.raises(ValueError, match=r'ends at frame \d of 9'):
        list(source)
    frames = list(open_source(path, allow_damaged=True))
    assert 0 < len(frames) < 9


def test_full_disk_is_noticed(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    rng = np.random.default_rng(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        sink = VideoSink(tmp_path / 'v.mp4', 10., (64, 48))
        for _ in range(30):
            sink.write(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8))
        with pytest.raises(OSError, match='disk may be full'):
            sink.close()
        with pytest.raises(OSError):
            write_image(tmp_path / 'i.png',
                        rng.integers(0, 255, (200, 200, 3)).astype(np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_sink_without_folder(tmp_path):
    with pytest.raises(OSError, match='cannot be written'):
        VideoSink(tmp_path / 'absent' / 'v.mp4', 10., (64, 48))


def test_output_folder_is_all_or_nothing(tmp_path):
    out_dir = tmp_path / 'new' / 'out'
    with output_folder(str(out_dir)) as folder:
        (folder / 'a.txt').write_text('first')
        assert not (out_dir / 'a.txt').exists()
    assert (out_dir / 'a.txt').read_text() == 'first'
    with pytest.raises(RuntimeError):
        with output_folder(str(out_dir)) as folder:
            (folder / 'a.txt').write_text('half')
            raise RuntimeError
    assert (out_dir / 'a.txt').read_text() == 'first'
    assert [path.name for path in out_dir.iterdir()] == ['a.txt']


def test_output_folder_below_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file/out" cannot be written: Not a'):
        with output_folder(str(tmp_path / 'file' / 'out')):
            pass
