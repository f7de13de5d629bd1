# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import cv2
import numpy as np
import pytest

from refinevis_mm.datasets.transforms import LoadFrame


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
