# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import cv2
import numpy as np
import pytest

from refinevis_mm.video_io import (ImageFilesSource, VideoFileSource,
                                   open_source)
from tests.test_video_io.videos import gray, values, write_video


@pytest.mark.parametrize('name, reason', [
    ('absent.mp4', 'absent.mp4" does not exist'),
    ('no_*.png', r'pattern ".*" holds no images \(.jpg'),
    ('.', 'folder ".*" holds no images'),
])
def test_refused_paths(tmp_path, name, reason):
    with pytest.raises((ValueError, OSError), match=reason):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize('fps', [0, -1, float('nan'), float('inf')])
def test_fps_must_be_positive(fps):
    with pytest.raises(ValueError, match=f'fps must be positive, got {fps}'):
        open_source([gray(0)], fps=fps)


@pytest.mark.parametrize('video', [None, 1.5, True])
def test_other_types_are_refused(video):
    with pytest.raises(ValueError, match='a video must be a path, an addre'):
        open_source(video)


def test_path_and_text(tmp_path):
    path = tmp_path / 'v.mp4'
    write_video(path, [gray(0), gray(100)])
    for video in (path, str(path)):
        source = open_source(video, start=1)
        assert isinstance(source.source, VideoFileSource)
        assert values(source) == pytest.approx([100], abs=4)


def test_folder_called_like_a_webcam(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'v.mp4', [gray(0)])
    (tmp_path / '0').mkdir()
    with pytest.raises(ValueError, match='folder "0" holds no images'):
        open_source('0')


def test_magic_characters_in_a_name(tmp_path):
    path = tmp_path / 'clip [1].mp4'
    write_video(path, [gray(100)])
    assert values(open_source(path)) == pytest.approx([100], abs=4)


def test_source_is_taken_as_it_is():
    source = open_source([gray(0), gray(20)])
    assert open_source(source) is source
    assert values(open_source(source, start=1)) == [20]
    with pytest.raises(ValueError, match='fps cannot be given for list'):
        open_source(source, fps=5)


def test_empty_list():
    with pytest.raises(ValueError, match='got no files'):
        open_source([])
    assert isinstance(open_source(['a.png']), ImageFilesSource)
    assert not isinstance(open_source([np.zeros(1)]), ImageFilesSource)


def test_hidden_files_are_no_frames(tmp_path):
    for k in range(3):
        cv2.imwrite(str(tmp_path / f'{k}.jpg'), gray(20 * k))
        (tmp_path / f'._{k}.jpg').write_bytes(b'a note of a Mac')
    source = open_source(tmp_path)
    assert source.num_frames == 3
    assert values(source) == [0, 20, 40]


@pytest.mark.parametrize('name', [
    '2024-05-01T12:30:00.mp4', 'file:v.mp4', 'rtsp:v.mp4', 'clip%02d [1].mp4'
])
def test_names_that_look_like_addresses(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'v.mp4', [gray(100)])
    (tmp_path / 'v.mp4').rename(tmp_path / name)
    source = open_source(name)
    assert source.name == name
    assert values(source) == pytest.approx([100], abs=4)


@pytest.mark.parametrize('folder, pattern, expected', [
    ('clip [v2]', 'clip [v2]/*.png', [0, 20, 40]),
    ('clip [v2]', 'clip [[]v2]/*.png', [0, 20, 40]),
    ('clips', 'clips/[12].png', [20, 40]),
    ('clips', 'clip?/[!0].png', [20, 40]),
])
def test_brackets_in_patterns(tmp_path, folder, pattern, expected):
    (tmp_path / folder).mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / folder / f'{k}.png'), gray(20 * k))
    assert values(open_source(str(tmp_path / pattern))) == expected


def test_pattern_that_leaves_images_out(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), gray(20))
    (tmp_path / '1.avif').touch()
    with pytest.raises(ValueError, match='pattern .*: 1 of 2, such as "1.avi'):
        open_source(str(tmp_path / '*'))
    assert values(open_source(str(tmp_path / '*.png'))) == [20]


def test_frames_know_their_files(tmp_path):
    """Whichever are taken, and those that are damaged left out."""
    paths = []
    for k in range(6):
        folder = tmp_path / f'part{k // 3}'
        folder.mkdir(exist_ok=True)
        paths.append(folder / f'{k:03d}.png')
        cv2.imwrite(str(paths[-1]), gray(20 * k))
    paths[1].write_bytes(b'x')
    names = [f'part{k // 3}/{k:03d}.png' for k in range(6)]
    for options, expected in [
        (dict(allow_damaged=True), [0, 2, 3, 4, 5]),
        (dict(allow_damaged=True, start=1, stride=2), [2, 4]),
        (dict(start=3, stride=2), [3, 5]),
    ]:
        frames = list(open_source(paths, **options).scan())
        assert [frame.index for frame in frames] == list(range(len(expected)))
        assert [frame.source_number for frame in frames] == expected
        assert [frame.name for frame in frames] == [names[k] for k in expected]
        assert values(frame.timed()
                      for frame in frames) == [20 * k for k in expected]


def test_frames_of_a_clip_of_a_clip(tmp_path):
    source = open_source(np.stack([gray(10 * k) for k in range(10)]))
    clip = open_source(open_source(source, start=2, stride=2), start=1)
    assert [frame.source_number for frame in clip.scan()] == [4, 6, 8]
    assert {frame.name for frame in clip.scan()} == {None}
