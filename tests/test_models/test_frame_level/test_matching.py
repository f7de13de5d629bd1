# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmengine.structures import InstanceData

from refinevis_mm.models import OTAAssigner
from refinevis_mm.models.frame_level.matching import (lies_in_region,
                                                      match_queries,
                                                      match_sets)
from refinevis_mm.structures import QueryMatch


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


UNIT = dict(img_shape=(1, 1))
ONE_COST = [dict(type='mmdet.BBoxL1Cost', weight=2.0, box_format='xyxy')]


def _boxes(*lefts):
    """Boxes of width and height .1 by their left side, also their scores."""
    left = torch.tensor(lefts)
    boxes = torch.stack([left, left * 0, left + .1, left * 0 + .1], 1)
    return InstanceData(bboxes=boxes, scores=left[:, None], labels=left.long())


def test_sets_are_matched_by_hand():
    """Two sets of three queries, two objects at .1 and .6."""
    assigner = HungarianAssigner(ONE_COST)
    first, second = match_sets(assigner, _boxes(.9, .5, .2, .1, .6, .0),
                               _boxes(.1, .6), 2)
    # distances .1 to each beat .4 and .3
    assert first.gt_inds.tolist() == [-1, 1, 0]
    assert first.best_query.tolist() == [2, 1]
    assert second.gt_inds.tolist() == [0, 1, -1]
    assert second.best_query.tolist() == [0, 1]


class _Subclass(HungarianAssigner):
    """Has the same rule, but goes the way of assigners that are unknown."""


@pytest.mark.parametrize('num_gts', [0, 1, 4, 9])
def test_sets_are_matched_as_by_mmdet(num_gts):
    """One by one, also with more objects than the 5 queries."""
    torch.manual_seed(num_gts)
    predictions, truth = _boxes(*torch.rand(15)), _boxes(*torch.rand(num_gts))
    expected = [
        HungarianAssigner(ONE_COST).assign(predictions[start:start + 5], truth,
                                           UNIT).gt_inds - 1
        for start in (0, 5, 10)
    ]
    for assigner in (HungarianAssigner(ONE_COST), _Subclass(ONE_COST)):
        found = match_sets(assigner, predictions, truth, 3)
        assert [match.gt_inds.tolist() for match in found
                ] == [gt_inds.tolist() for gt_inds in expected]
        for match in found:
            inverse = QueryMatch.one_to_one(match.gt_inds, num_gts)
            assert torch.equal(match.best_query, inverse.best_query)
            assert not match.ignored.any()
    single = match_queries(
        HungarianAssigner(ONE_COST), predictions[5:10], truth)
    assert torch.equal(single.gt_inds, expected[1])


def test_sets_are_matched_to_many():
    """OTA one set at a time, with its cheapest queries."""
    torch.manual_seed(0)
    predictions, truth = _boxes(*torch.rand(12)), _boxes(.2, .7)
    assigner = OTAAssigner(ONE_COST, num_candidates=4)
    for i, match in enumerate(match_sets(assigner, predictions, truth, 2)):
        expected = assigner.assign(predictions[6 * i:6 * i + 6], truth, UNIT)
        assert torch.equal(match.gt_inds, expected.gt_inds - 1)
        assert torch.equal(match.best_query,
                           expected.get_extra_property('best_query_inds'))
