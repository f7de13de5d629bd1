# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest
from PIL import Image

from refinevis_mm.video_io import read_image
from refinevis_mm.vis_json.frame_files import copy_images, find_frame_defects


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


def _defects(content, folder):
    return list(find_frame_defects(content, str(folder), read_image))


def test_frames_are_named(folder):
    found = _defects(_content(), folder)
    assert [(d.code, d.place)
            for d in found] == [('frame-size', dict(video=7, frame=1)),
                                ('unreadable-frame', dict(video=7, frame=2)),
                                ('missing-frame', dict(video=7, frame=3))]
    for defect in found:
        assert f'{defect.place["frame"]}.jpg' in str(defect)


def test_missing_folder_of_a_video(folder):
    content = _content(file_names=['w/0.jpg'], length=1)
    defect, = _defects(content, folder)
    assert defect.code == 'missing-frame'


def test_unusable_videos_are_left_out(folder):
    content = _content(height=None)
    content['videos'] += [3, {}]
    assert _defects(content, folder) == []
    assert _defects(None, folder) == []
    usable = _content(file_names=['w/0.jpg'], length=1)
    usable['videos'] += [
        3, {},
        dict(id=[7]),
        dict(id=7),
        dict(usable['videos'][0], file_names=['w/1.jpg'])
    ]
    defect, = _defects(usable, folder)
    assert 'w/0.jpg' in str(defect)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        _defects(_content(), tmp_path / 'nowhere')


def _cut(path):
    """A JPEG without its end; its head is whole."""
    Image.fromarray(np.arange(12000, dtype=np.uint8).reshape(100,
                                                             120)).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def _turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees, as it is loaded
    Image.new('RGB', (120, 100)).save(path, exif=exif)


def _empty(path):
    path.write_bytes(b'')


def _several(path):
    pictures = [Image.new('L', (120, 100), k) for k in range(2)]
    pictures[0].save(path, 'TIFF', save_all=True, append_images=pictures[1:])


def _deep(path):
    Image.new('F', (120, 100)).save(path, 'TIFF')


@pytest.mark.parametrize('write, code, reason', [
    (_cut, 'unreadable-frame', 'truncated'),
    (_empty, 'unreadable-frame', 'not an image'),
    (_several, 'unreadable-frame', 'holds 2 pictures'),
    (_deep, 'unreadable-frame', 'must have 8 or 16 bits'),
    (_turned, 'frame-size', r'\(120, 100\), but its video \(100, 120\)'),
])
def test_what_training_cannot_read_is_named(write, code, reason, tmp_path):
    """The files are decoded as in training, not looked at only."""
    write(tmp_path / 'a.jpg')
    content = _content(file_names=['a.jpg'], length=1, height=100, width=120)
    defect, = _defects(content, tmp_path)
    assert defect.code == code and defect.place == dict(video=7, frame=0)
    with pytest.raises(ValueError, match=f'a.jpg.*{reason}'):
        raise ValueError(str(defect))


def test_hostile_images_are_named(tmp_path, monkeypatch):
    """What Pillow raises is not always an OSError."""
    Image.new('RGB', (4, 3)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 5)
    content = _content(file_names=['a.png'], length=1)
    defect, = _defects(content, tmp_path)
    assert 'decompression bomb' in str(defect)
    monkeypatch.undo()

    def broken(*args, **kwargs):
        raise TypeError('no bytes')

    monkeypatch.setattr(Image, 'open', broken)
    defect, = _defects(content, tmp_path)
    assert defect.code == 'unreadable-frame' and 'no bytes' in str(defect)


def test_copy_images(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp('target')
    _cut(folder / 'v' / '4.jpg')
    copy_images([('v/0.jpg', 3, 4)], str(folder), str(target), read_image)
    assert (target / 'v/0.jpg').read_bytes() == \
        (folder / 'v/0.jpg').read_bytes()
    for file, error, reason in ((('v/0.jpg', 3, 4), FileExistsError,
                                 "'v/0.jpg' of .* is there"),
                                (('v/1.jpg', 3, 4), ValueError,
                                 r'\(3, 4\), got \(4, 3\)'),
                                (('v/2.jpg', 3, 4), ValueError,
                                 'cannot be read: not an image'),
                                (('v/3.jpg', 3, 4), ValueError,
                                 'cannot be read: No such file'),
                                (('v/4.jpg', 100, 120), ValueError,
                                 'truncated')):
        with pytest.raises(error, match=reason):
            copy_images([file], str(folder), str(target), read_image)
    assert [path.name for path in (target / 'v').iterdir()] == ['0.jpg']


@pytest.mark.parametrize('name', ['../out.png', 'a/../../out.png', 'ABSOLUTE'])
def test_names_that_lead_out_are_not_copied(tmp_path, name):
    source, target = tmp_path / 'a' / 'source', tmp_path / 'b' / 'target'
    source.mkdir(parents=True)
    name = name.replace('ABSOLUTE', str(tmp_path / 'out.png'))
    with pytest.raises(ValueError, match='must lie inside of their folder'):
        copy_images([(name, 3, 4)], str(source), str(target),
                    lambda path: np.zeros((3, 4, 3), np.uint8))
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['a', 'source']
