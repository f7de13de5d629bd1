# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
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
