# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import cv2
import numpy as np
import pytest
from PIL import Image

from refinevis_mm.datasets.transforms import LoadFrame
from refinevis_mm.video_io import open_source


def test_loads_a_frame(tmp_path):
    path = str(tmp_path / 'a.png')
    img = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    cv2.imwrite(path, img)
    results = LoadFrame()(dict(img_path=path, height=4, width=6))
    assert np.array_equal(results['img'], img)
    assert results['img_shape'] == results['ori_shape'] == (4, 6)
    with pytest.raises(ValueError, match=r'a.png.*\(4, 6\).*\(4, 7\)'):
        LoadFrame()(dict(img_path=path, height=4, width=7))


@pytest.mark.parametrize('content', [b'', b'no image', b'\xff\xd8\xff\xe0'])
def test_corrupt_frame_is_named(tmp_path, content):
    path = tmp_path / 'bad.jpg'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='bad.jpg'):
        LoadFrame()(dict(img_path=str(path)))


def test_missing_frame_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.jpg' does not exist"):
        LoadFrame()(dict(img_path=str(tmp_path / 'none.jpg')))


PICTURES = dict(
    deep=('png',
          Image.fromarray(np.arange(24).reshape(4, 6).astype('<u2') * 2700)),
    clear=('png', Image.new('LA', (6, 4), (200, 0))),
    printed=('jpg', Image.new('CMYK', (6, 4), (10, 90, 30, 20))),
    palette=('png', Image.new('P', (6, 4), 3)),
    linear=('tif', Image.new('F', (6, 4), .5)))


@pytest.mark.parametrize('name', PICTURES)
def test_sees_what_the_video_tools_see(tmp_path, name):
    suffix, picture = PICTURES[name]
    path = str(tmp_path / f'0.{suffix}')
    picture.save(path)
    results = []
    for read in (lambda: LoadFrame()(dict(img_path=path))['img'],
                 lambda: next(iter(open_source(path))).image):
        try:
            results.append(read())
        except ValueError as error:
            results.append(str(error).split('read: ')[1])
    if name == 'linear':
        assert results == ['its pixels must have 8 or 16 bits, got 32'] * 2
    else:
        np.testing.assert_array_equal(*results)
        assert results[0].shape == (4, 6, 3)
    if name == 'deep':
        assert results[0].max() == 23 * 2700 // 256
    if name == 'clear':
        assert (results[0] == 200).all()


def test_to_float32(tmp_path):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, np.full((4, 6, 3), 7, np.uint8))
    img = LoadFrame(to_float32=True)(dict(img_path=path))['img']
    assert img.dtype == np.float32 and (img == 7).all()
