# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import resource

import cv2
import numpy as np
import pytest

from refinevis_mm.video_io import output_folder, write_image
from tests.test_video_io.videos import noise


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_or_nothing(tmp_path):
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
    assert names(out_dir) == ['a.txt']


def test_files_and_folders_replace_old_ones(tmp_path):
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'masks' / 'old.png').write_text('old')
    (tmp_path / 'was_file').write_text('old')
    (tmp_path / 'was_folder').mkdir()
    (tmp_path / 'other.txt').write_text('other')
    with output_folder(tmp_path) as folder:
        (folder / 'masks').mkdir()
        (folder / 'masks' / 'new.png').write_text('new')
        (folder / 'was_file').mkdir()
        (folder / 'was_folder').write_text('new')
        (folder / 'v.mp4.partial').write_text('half a video')
    assert names(tmp_path) == ['masks', 'other.txt', 'was_file', 'was_folder']
    assert names(tmp_path / 'masks') == ['new.png']
    assert (tmp_path / 'was_file').is_dir()
    assert (tmp_path / 'was_folder').read_text() == 'new'


def test_below_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file/out" cannot be written: Not a'):
        with output_folder(str(tmp_path / 'file' / 'out')):
            pass


def test_write_image(tmp_path):
    image = noise(1, 200, 200)[0]
    write_image(tmp_path / 'i.png', image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'i.png')), image)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(OSError):
            write_image(tmp_path / 'full.png', image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
