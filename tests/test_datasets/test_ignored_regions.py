# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.datasets.ignored_regions import unlabelled_region
from refinevis_mm.vis_json.vis_writer import encode_counts


def test_complement_by_hand():
    # a polygon of 2 x 1 pixels, counts as a list, and compressed
    array = np.zeros((3, 4), bool)
    array[2, 3] = True
    other = np.zeros((3, 4), np.uint8, order='F')
    other[1, :2] = 1
    masks = [[[0, 0, 2, 0, 2, 1, 0, 1]],
             dict(size=[3, 4], counts=encode_counts(array)),
             dict(
                 size=[3, 4],
                 counts=mask_utils.encode(other)['counts'].decode())]
    region = unlabelled_region(masks, 3, 4)
    assert isinstance(region['counts'], str) and region['size'] == [3, 4]
    assert mask_utils.decode(region).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1],
                                                  [1, 1, 1, 0]]


def test_nothing_and_everything_labelled():
    assert mask_utils.decode(unlabelled_region([], 2, 3)).all()
    full = dict(size=[2, 3], counts=[0, 6])
    assert unlabelled_region([full], 2, 3) is None


def test_malformed_mask_is_refused():
    with pytest.raises(ValueError, match='mask size is'):
        unlabelled_region([dict(size=[3, 2], counts=[0, 6])], 2, 3)
