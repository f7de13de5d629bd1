# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from refinevis_mm.vis_json import check_sharp, find_cores, read_id_map


def scene(*ids):
    """Ellipses that overlap."""
    values = np.zeros((120, 160), np.uint8)
    rng = np.random.default_rng(len(ids))
    for number in ids:
        center = rng.integers(40, 80, 2).tolist()
        axes = rng.integers(10, 40, 2).tolist()
        cv2.ellipse(values, center, axes, 30, 0, 360, number, -1)
    return values


def check(*maps):
    ids = {i for values in maps for i in np.unique(values).tolist()} - {0, 255}
    cores = set().union(*(find_cores(values) for values in maps))
    check_sharp(ids, cores, 'here')


def test_cores_by_hand():
    values = np.array(
        [
            [1, 1, 1, 0, 3],  # the right column of 1 is far from 2
            [2, 1, 1, 0, 0],  # all of 2 touches 1
            [0, 0, 0, 4, 5],  # so do 4 and 5 each other
        ],
        np.uint8)
    for kind in (np.uint8, np.uint16, np.int32):
        assert find_cores(values.astype(kind)) == {1, 3}
    assert find_cores(np.full((4, 4), 7, np.uint8)) == {7}


@pytest.mark.parametrize('ids', [(1, ), (1, 2, 3), (38, 75, 113, 14, 52, 255),
                                 range(1, 40)])
def test_sharp_maps(ids):
    check(scene(*ids))


@pytest.mark.parametrize('ids', [(255, ), (38, 75, 113)])
@pytest.mark.parametrize('smooth', [
    lambda values: cv2.GaussianBlur(values, (5, 5), 0),
    lambda values: cv2.GaussianBlur(values, (25, 25), 0),
    lambda values: cv2.resize(
        values, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    lambda values: cv2.resize(values, None, fx=0.7, fy=0.7),
    lambda values: cv2.imdecode(cv2.imencode('.jpg', values)[1], 0),
])
def test_smoothed_maps(smooth, ids):
    with pytest.raises(ValueError, match='^here: ids must .* are only edges'):
        check(smooth(scene(*ids)), smooth(scene(*ids))[::-1])


def test_honest_small_objects():
    """Points, lines of one pixel, and two objects at the edge of another."""
    points = np.zeros((20, 20), np.uint16)
    points[::4, ::4] = np.arange(1, 26).reshape(5, 5)
    check(points)
    lines = np.zeros((20, 20), np.uint8)
    lines[::3] = np.arange(1, 8)[:, None]
    check(lines)
    edges = np.zeros((20, 20), np.uint8)
    edges[5:15, 5:15] = 3
    edges[4, 5:15], edges[15, 5:15] = 1, 2
    check(edges)
    # seen whole in another frame
    check(edges * 2, edges // 2 * 2, lines)


def test_read(tmp_path):
    path = str(tmp_path / 'a.png')
    for values in (scene(1, 2), scene(1, 2).astype(np.uint16) * 1000):
        Image.fromarray(values).save(path)
        np.testing.assert_array_equal(read_id_map(path), values)
    Image.fromarray(scene(1) > 0).save(path)
    assert read_id_map(path).dtype == np.uint8 and read_id_map(path).max() == 1
    Image.fromarray(scene(1)).save(path, 'JPEG')
    with pytest.raises(ValueError, match="a.png' must be a PNG map, but"):
        read_id_map(path)
    Image.new('RGB', (3, 2)).save(path)
    with pytest.raises(ValueError, match=r'one channel .* got \(2, 3, 3\)'):
        read_id_map(path)


def write_grey(path, depth, row):
    """A PNG of one row of packed grey values, which Pillow cannot write."""

    def chunk(name, data):
        part = name + data
        return struct.pack('>I', len(data)) + part + struct.pack(
            '>I', zlib.crc32(part))

    width = 8 * len(row) // depth
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n' +
        chunk(b'IHDR', struct.pack('>IIBBBBB', width, 1, depth, 0, 0, 0, 0)) +
        chunk(b'IDAT', zlib.compress(b'\0' + row)) + chunk(b'IEND', b''))


@pytest.mark.parametrize('depth, row, values', [
    (1, b'\xa1', [1, 0, 1, 0, 0, 0, 0, 1]),
    (2, b'\x1b', [0, 1, 2, 3]),
    (4, b'\x01\x2f', [0, 1, 2, 15]),
])
def test_few_bits_are_not_stretched(tmp_path, depth, row, values):
    path = tmp_path / 'a.png'
    write_grey(path, depth, row)
    assert read_id_map(str(path)).tolist() == [values]


def test_read_what_is_no_map(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    with pytest.raises(ValueError, match="a.png' must be .*: No such file"):
        read_id_map(str(path))
    Image.fromarray(scene(1, 2)).save(path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(ValueError, match='decompression bomb'):
        read_id_map(str(path))
    path.write_bytes(path.read_bytes()[:-30])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="a.png' must be a PNG map, but"):
        read_id_map(str(path))
