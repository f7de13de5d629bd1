# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from refinevis_mm.vis_json import is_mots_png, read_mots_png

SIZE = (6, 8)
STEMS = ['a', 'b', 'c']


def picture(*squares, dtype=np.uint16, size=SIZE):
    """A map of squares (left, top, side, value) as a PNG."""
    values = np.zeros(size, dtype)
    for left, top, side, value in squares:
        values[top:top + side, left:left + side] = value
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, 'PNG')
    return buffer.getvalue()


def write(folder, maps, labels='car\n\npedestrian\n', prefix='default/'):
    path = folder / 'export.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        if labels is not None:
            archive.writestr(f'{prefix}instances/labels.txt', labels)
        for name, data in maps.items():
            archive.writestr(f'{prefix}instances/{name}.png', data)
    return str(path)


def pixels(video):
    return {
        track_id: (name, {
            frame: int(mask_utils.area(code))
            for frame, code in codes.items()
        })
        for track_id, (name, codes) in video.objects.items()
    }


@pytest.mark.parametrize('prefix, names', [
    ('default/', ['a', 'c']),
    ('', ['frame_000000', 'frame_000002']),
    ('train/', ['000000', '000002']),
    ('train/', ['cam/a', 'cam/c']),
])
def test_by_hand(tmp_path, prefix, names):
    """A frame without a map has no objects; 10 is ignored."""
    maps = dict(
        zip(names, [
            picture((0, 0, 2, 1007), (4, 1, 3, 2000), (0, 4, 1, 10000)),
            picture((1, 1, 2, 1007))
        ]))
    path = write(tmp_path, maps, prefix=prefix)
    assert is_mots_png(path)
    video = read_mots_png(path, STEMS, SIZE)
    assert video.classes == ['car', 'pedestrian']
    assert list(video.numbers) == [0, 1, 2]
    assert pixels(video) == {
        7: ('car', {
            0: 4,
            2: 4
        }),
        0: ('pedestrian', {
            0: 9
        })
    }


def test_one_number_of_two_classes(tmp_path):
    maps = dict(a=picture((0, 0, 2, 1003), (4, 1, 3, 2003), (0, 4, 2, 2004)))
    assert pixels(read_mots_png(write(tmp_path, maps), STEMS, SIZE)) == {
        1003: ('car', {
            0: 4
        }),
        2003: ('pedestrian', {
            0: 9
        }),
        4: ('pedestrian', {
            0: 4
        })
    }


def test_ten_classes(tmp_path):
    """10 is a class where there are so many."""
    labels = '\n'.join(f'class {i}' for i in range(1, 11))
    path = write(tmp_path, dict(b=picture((0, 0, 2, 10000))), labels)
    assert pixels(read_mots_png(path, STEMS, SIZE)) == {
        0: ('class 10', {
            1: 4
        })
    }


def stripes():
    """Smoothed edges: each value is but an edge of another."""
    return picture(*[(x, 0, 6, 1001 + x) for x in range(8)])


@pytest.mark.parametrize('maps, labels, reason', [
    (dict(a=picture((0, 0, 2, 3001))), 'car', 'pixel 3001 must be of a class '
     'from 1 to 1, which labels.txt names'),
    (dict(a=picture((0, 0, 2, 7))), 'car', 'pixel 7 must be of a class'),
    (dict(a=picture((0, 0, 2, 1001))), None, 'one instances/labels.txt'),
    (dict(a=picture(size=(5, 8))), 'car', r'\(6, 8\), got \(5, 8\)'),
    (dict(a=b'no picture'), 'car', r'export.zip/default/.*a.png.* PNG map'),
    (dict(a=picture()[:45]), 'car', 'cannot be read'),
    ({
        'd': picture()
    }, 'car', "map 'd' must have a frame of this name or number"),
    ({
        '3': picture()
    }, 'car', "map '3' must have a frame .* there are 3 others"),
    ({
        'x/a': picture(),
        'y/a': picture()
    }, 'car', 'of one name in several folders'),
    (dict(a=stripes()), 'car', 'without smoothing'),
])
def test_bad_input(tmp_path, maps, labels, reason):
    path = write(tmp_path, maps, labels)
    with pytest.raises(ValueError, match=reason) as error:
        read_mots_png(path, STEMS, SIZE)
    assert '\n' not in str(error.value)


def test_other_files(tmp_path):
    path = tmp_path / 'a.zip'
    path.write_bytes(b'no zip')
    assert not is_mots_png(str(path)) and not is_mots_png('absent.zip')
    with pytest.raises(ValueError, match='a zip of MOTS PNG'):
        read_mots_png(str(path), STEMS, SIZE)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('annotations.xml', '')
    assert not is_mots_png(str(path))
    path = write(tmp_path, dict(a=picture((0, 0, 2, 1001))))
    data = open(path, 'rb').read()
    where = data.index(b'IHDR')
    with open(path, 'wb') as file:
        file.write(data[:where] + b'XXXX' + data[where + 4:])
    with pytest.raises(ValueError, match='cannot be read'):
        read_mots_png(path, STEMS, SIZE)


@pytest.mark.zoo
def test_of_datumaro(tmp_path):
    """A zip that an independent writer has made."""
    datumaro = pytest.importorskip('datumaro')
    rng = np.random.default_rng(0)
    masks = [rng.random(SIZE) < 0.4 for _ in range(2)]
    masks[1] &= ~masks[0]
    items = [
        datumaro.DatasetItem(
            f'frame_{frame:06d}',
            subset='default',
            media=datumaro.Image.from_numpy(np.zeros((*SIZE, 3), np.uint8)),
            annotations=[
                datumaro.Mask(
                    mask, label=1 - i, attributes=dict(track_id=10 + i))
                for i, mask in enumerate(masks)
            ]) for frame in (0, 2)
    ]
    data = datumaro.Dataset.from_iterable(items, categories=['car', 'bus'])
    data.export(str(tmp_path / 'mots'), 'mots_png', save_media=True)
    path = tmp_path / 'export.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for file in (tmp_path / 'mots').rglob('*.*'):
            archive.write(file, file.relative_to(tmp_path / 'mots'))
    video = read_mots_png(str(path), STEMS, SIZE)
    assert {
        i: name
        for i, (name, _) in video.objects.items()
    } == {
        10: 'bus',
        11: 'car'
    }
    for i, (_, codes) in video.objects.items():
        assert sorted(codes) == [0, 2]
        for code in codes.values():
            assert np.array_equal(mask_utils.decode(code), masks[i - 10])
