# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pycocotools.mask as mask_utils
import torch

from refinevis_mm.models.frame_level.matching import lies_in_region


def _bools(rows):
    """Rows of '#' for True and '.' for False."""
    return torch.tensor([[letter == '#' for letter in row]
                         for row in rows.split()])


def test_half_of_a_mask_must_lie_in_the_region():
    region = _bools('####....')[0]
    masks = _bools('##...... ..####.. ...####. ....##.. ........ ########')
    assert lies_in_region(masks, region).tolist() == [
        True,  # all of it
        True,  # half of it
        False,  # a quarter
        False,  # nothing
        False,  # an empty mask lies nowhere
        True  # half of the picture
    ]


def test_no_region():
    masks = _bools('##.. ....')
    assert not lies_in_region(masks, torch.zeros(4, dtype=torch.bool)).any()
    region = torch.ones(4, dtype=torch.bool)
    assert lies_in_region(masks[:0], region).shape == (0, )


def test_pycocotools_has_the_same_rule():
    """Its overlap with a crowd, at an IoU threshold of one half."""
    rng = np.random.default_rng(0)
    masks = rng.random((60, 12)) < rng.random((60, 1))
    region = np.arange(12) < 6
    rles = [
        mask_utils.encode(np.asfortranarray(mask[None], np.uint8))
        for mask in [*masks, region]
    ]
    overlaps = mask_utils.iou(rles[:-1], rles[-1:], [1])[:, 0]
    inside = lies_in_region(torch.from_numpy(masks), torch.from_numpy(region))
    assert 10 < inside.sum() < 50
    assert inside.tolist() == (overlaps >= 0.5).tolist()
