# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import cv2
import numpy as np
import pytest
from PIL import Image

from refinevis_mm.video_io import ImageFilesSource, open_source
from tests.test_video_io.videos import gray, noise, times, values


def write_frames(folder, names):
    """Frame k has the grey value 20 * k."""
    for k, name in enumerate(names):
        cv2.imwrite(str(folder / name), gray(20 * k))


def test_folder_is_sorted_by_number(tmp_path):
    write_frames(tmp_path, ['f2.png', 'f9.png', 'f10.png'])
    (tmp_path / 'notes.txt').write_text('no frame')
    source = open_source(str(tmp_path))
    assert (source.num_frames, source.fps) == (3, 10.)
    assert source.name == str(tmp_path)
    assert values(source) == [0, 20, 40]
    assert times(source) == [0., .1, .2]
    assert times(open_source(tmp_path, fps=4)) == [0., .25, .5]


def test_glob_single_image_and_list(tmp_path):
    write_frames(tmp_path, ['a_1.png', 'a_2.png', 'b_1.png'])
    assert values(open_source(str(tmp_path / 'a_*.png'))) == [0, 20]
    assert values(open_source(str(tmp_path / 'b_1.png'))) == [40]
    paths = [tmp_path / 'b_1.png', str(tmp_path / 'a_1.png')]
    assert values(open_source(paths)) == [40, 0]  # as given


def test_settings_tell_lists_apart(tmp_path):
    write_frames(tmp_path, ['1.png', '2.png', '3.png'])
    paths = [str(tmp_path / f'{k}.png') for k in (1, 2, 3)]
    settings = [
        open_source(video).settings for video in (paths, paths[:2], paths[1:])
    ]
    assert settings[0] == open_source(paths).settings
    assert settings[0] != settings[1] != settings[2]


def test_exif_orientation_is_applied(tmp_path):
    """Orientation 6: turn the stored picture clockwise by a quarter."""
    image = gray(40)
    image[:16, :24] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / 'i.jpg', exif=exif, quality=95)
    (frame, ) = open_source(tmp_path / 'i.jpg')
    assert frame.image.shape == (64, 48, 3)
    assert frame.image[2, -3].min() > 200  # top left went to top right
    assert frame.image[2, 2].max() < 80


@pytest.mark.parametrize('size', [0, 400])
def test_corrupt_frame_is_named(tmp_path, size):
    for k in range(3):
        cv2.imwrite(str(tmp_path / f'{k}.jpg'), noise(1)[0])
    damaged = tmp_path / '1.jpg'
    damaged.write_bytes(damaged.read_bytes()[:size])
    frames = iter(open_source(str(tmp_path)))
    next(frames)
    with pytest.raises(ValueError, match='1.jpg" cannot be read'):
        next(frames)
    kept = open_source(str(tmp_path), allow_damaged=True)
    assert times(kept) == [0., .2]
    assert times(kept.frames_from(1)) == [.2]


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


def test_skipped_files_are_not_read(tmp_path):
    write_frames(tmp_path, ['0.png', '1.png', '2.png'])
    source = open_source(str(tmp_path))
    (tmp_path / '0.png').write_bytes(b'x')
    assert values(source.frames_from(1)) == [20, 40]
    np.testing.assert_array_equal(times(source.frames_from(1)), [.1, .2])
