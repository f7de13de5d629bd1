# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest
from matplotlib.path import Path
from scipy.ndimage import gaussian_filter

from refinevis_mm.vis_json import mask_polygons


def fill(polygons, shape):
    """What pycocotools, as CVAT, makes of polygons."""
    return mask_utils.decode(
        mask_utils.merge(mask_utils.frPyObjects(polygons,
                                                *shape))).astype(bool)


def fill_centres(polygons, shape):
    """Pixels whose centre is inside by another program's rule."""
    y, x = np.mgrid[:shape[0], :shape[1]]
    centres = np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5
    found = [
        Path(np.reshape(polygon, (-1, 2)),
             closed=False).contains_points(centres) for polygon in polygons
    ]
    return np.any(found, axis=0).reshape(shape)


def iou(mask, other):
    return (mask & other).sum() / (mask | other).sum()


def test_square_by_hand():
    mask = np.zeros((30, 40), bool)
    mask[5:25, 10:30] = True
    polygon, = mask_polygons(mask)
    corners = np.reshape(polygon, (-1, 2))
    assert len(corners) == 4  # with one pixel of 20 cut off at each
    assert corners.min(axis=0).tolist() == [10, 5]
    assert corners.max(axis=0).tolist() == [30, 25]
    assert iou(fill([polygon], mask.shape), mask) >= 0.98
    polygon, = mask_polygons(mask, 1)
    assert len(polygon) == 2 * 8
    assert fill([polygon], mask.shape).tolist() == mask.tolist()


@pytest.mark.parametrize('mask', [
    np.ones((1, 1), bool),
    np.ones((7, 9), bool),
    np.eye(6, dtype=bool),
    np.pad(np.ones((1, 1), bool), 3),
    np.pad(np.ones((1, 5), bool), 1),
])
def test_small_ones_are_exact(mask):
    assert fill(mask_polygons(mask, 1), mask.shape).tolist() == mask.tolist()


def test_no_pixels():
    assert mask_polygons(np.zeros((4, 5), bool)) == []


def test_holes_and_parts():
    """A ring with a part in its hole and one outside, the largest first."""
    mask = np.zeros((60, 80), bool)
    mask[5:45, 5:45] = True
    mask[12:38, 12:38] = False
    mask[20:30, 20:30] = True
    mask[30:50, 60:75] = True
    polygons = mask_polygons(mask)
    # outline and holes turn opposite ways, so that no rule fills the holes
    x, y = np.reshape(polygons[0], (-1, 2)).T
    turning = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert turning == pytest.approx(40 * 40 - 26 * 26, rel=0.02)
    areas = [fill([polygon], mask.shape).sum() for polygon in polygons]
    assert areas == pytest.approx([40 * 40 - 26 * 26, 20 * 15, 100], rel=0.05)
    for filled in (fill(polygons,
                        mask.shape), fill_centres(polygons, mask.shape)):
        assert iou(filled, mask) >= 0.98
        assert not filled[13:19, 13:37].any()


def test_random_masks():
    """The IoU is kept, with more points for more of it."""
    rng = np.random.default_rng(0)
    for sigma in (0.5, 1, 2, 4, 8) * 6:
        shape = rng.integers(4, 90, 2)
        mask = gaussian_filter(rng.normal(size=shape), sigma) > 0
        mask[0, 0] = True
        before = 0
        for min_iou in (0.9, 0.98, 1):
            polygons = mask_polygons(mask, min_iou)
            assert iou(fill(polygons, shape), mask) >= min_iou
            for polygon in polygons:
                corners = np.reshape(polygon, (-1, 2))
                assert len(corners) >= 3 and (corners >= 0).all()
                assert (corners <= shape[::-1]).all()
                assert np.array_equal(corners.round(2), corners)
            assert sum(map(len, polygons)) >= before
            before = sum(map(len, polygons))


def test_specks_are_left_out():
    """Of 1 percent of the pixels, but no more."""
    mask = np.zeros((100, 100), bool)
    cv2.circle(image := mask.astype(np.uint8), (50, 50), 30, 1, -1)
    mask = image.astype(bool)
    specks = [(i, 0) for i in range(0, 40, 2)]
    mask[tuple(zip(*specks))] = True
    mask[45, 45] = False
    assert len(mask_polygons(mask)) == 1
    assert len(mask_polygons(mask, 1)) == 21
