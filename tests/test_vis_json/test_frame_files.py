# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
from PIL import Image

from refinevis_mm.vis_json.frame_files import (copy_images, find_frame_defects,
                                               image_size)


@pytest.fixture
def folder(tmp_path):
    """Frames 3 high and 4 wide: good, of another size, no image, missing."""
    (tmp_path / 'v').mkdir()
    Image.new('RGB', (4, 3)).save(tmp_path / 'v' / '0.jpg')
    Image.new('RGB', (3, 4)).save(tmp_path / 'v' / '1.jpg')
    (tmp_path / 'v' / '2.jpg').write_text('no image')
    return tmp_path


def _content(**changes):
    video = dict(
        id=7,
        width=4,
        height=3,
        length=4,
        file_names=[f'v/{t}.jpg' for t in range(4)])
    return dict(categories=[], videos=[dict(video, **changes)])


def test_frames_are_named(folder):
    found = list(find_frame_defects(_content(), str(folder)))
    assert [(d.code, d.place)
            for d in found] == [('frame-size', dict(video=7, frame=1)),
                                ('unreadable-frame', dict(video=7, frame=2)),
                                ('missing-frame', dict(video=7, frame=3))]
    for defect in found:
        assert f'{defect.place["frame"]}.jpg' in str(defect)


def test_missing_folder_of_a_video(folder):
    content = _content(file_names=['w/0.jpg'], length=1)
    defect, = find_frame_defects(content, str(folder))
    assert defect.code == 'missing-frame'


def test_unusable_videos_are_left_out(folder):
    content = _content(height=None)
    content['videos'] += [3, {}]
    assert list(find_frame_defects(content, str(folder))) == []
    assert list(find_frame_defects(None, str(folder))) == []


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        list(find_frame_defects(_content(), str(tmp_path / 'nowhere')))


def test_rotated_photo(tmp_path):
    path = str(tmp_path / 'a.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees, as it is loaded
    Image.new('RGB', (4, 3)).save(path, exif=exif)
    assert image_size(path) == (4, 3)


def test_copy_images(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp('target')
    copy_images([('v/0.jpg', 3, 4)], str(folder), str(target))
    assert (target / 'v/0.jpg').read_bytes() == \
        (folder / 'v/0.jpg').read_bytes()
    for file, error, reason in ((('v/0.jpg', 3, 4), FileExistsError,
                                 "'v/0.jpg' of .* is there"),
                                (('v/1.jpg', 3, 4), ValueError,
                                 r'\(3, 4\), got \(4, 3\)'),
                                (('v/2.jpg', 3, 4), OSError,
                                 'not a readable image'), (('v/3.jpg', 3, 4),
                                                           FileNotFoundError,
                                                           'does not exist')):
        with pytest.raises(error, match=reason):
            copy_images([file], str(folder), str(target))
    assert [path.name for path in (target / 'v').iterdir()] == ['0.jpg']
