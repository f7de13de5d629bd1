# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch.testing import assert_close

from refinevis_mm.models.association.ota_assigner import (CenterPriorCost,
                                                          OTAAssigner,
                                                          match_dynamic_k)
from refinevis_mm.registry import TASK_UTILS

UNIT_IMAGE = dict(img_shape=(1, 1))


def _boxes(*boxes):
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _match(cost, ious=None, num_candidates=10):
    """Match by lists; without IoU every object wants one query."""
    cost = torch.tensor(cost, dtype=torch.float32)
    ious = torch.zeros_like(cost) if ious is None else torch.tensor(ious)
    return tuple(x.tolist()
                 for x in match_dynamic_k(cost, ious, num_candidates))


def _random_frame(num_queries, num_gts, seed=0):
    """Half of the queries are near an object, the others anywhere."""
    generator = torch.Generator().manual_seed(seed)
    top_left = torch.rand(num_gts, 2, generator=generator) * 0.6
    size = torch.rand(num_gts, 2, generator=generator) * 0.3 + 0.05
    gt_boxes = torch.cat([top_left, top_left + size], 1)
    boxes = torch.rand(num_queries, 4, generator=generator) * 0.5
    boxes[:, 2:] += boxes[:, :2]
    near = torch.arange(0, num_queries, 2)
    noise = torch.randn(len(near), 4, generator=generator) * 0.02
    boxes[near] = gt_boxes[near % num_gts] + noise if num_gts else boxes[near]
    scores = torch.randn(num_queries, 5, generator=generator)
    labels = torch.randint(5, (num_gts, ), generator=generator)
    return (InstanceData(scores=scores, bboxes=boxes),
            InstanceData(labels=labels, bboxes=gt_boxes))


def test_dynamic_k_is_the_floor_of_the_iou_sum():
    ious = [[.9, .0], [.8, .1], [.6, .2], [.0, .3], [.0, .0]]
    cost = [[1, 9], [2, 9], [3, 8], [9, 1], [9, 9]]
    # object 0: floor(2.3) = 2 queries; object 1: floor(0.6) = 0, at least 1
    assert _match(cost, ious) == ([0, 0, -1, 1, -1], [0, 3])
    # one candidate: floor(0.9) = 0, at least 1
    assert _match(cost, ious, 1) == ([0, -1, -1, 1, -1], [0, 3])


def test_shared_query_goes_to_the_cheapest_of_all_objects():
    # objects 0 and 1 choose query 0, cheaper for 1; then 0 needs a free one
    assert _match([[2, 1], [7, 9], [5, 9]]) == ([1, -1, 0], [2, 0])
    # object 2 does not choose query 0, which is still cheapest for it
    cost = [[2, 3, 1], [9, 9, 0], [4, 9, 9], [9, 5, 9]]
    assert _match(cost) == ([2, 2, 0, 1], [2, 3, 1])


def test_no_pair_on_ties_goes_missing():
    assert _match([[1, 1], [1, 1], [1, 1]]) == ([0, 1, -1], [0, 1])


def test_empty_objects_take_distinct_free_queries():
    # all three want query 0, object 0 wins; 1 and 2 then both want query 1,
    # where (1, 2) is cheaper; 1 takes query 3, its next
    cost = [[1, 2, 3], [9, 5, 4], [9, 8, 9], [9, 7, 9]]
    assert _match(cost) == ([0, 2, -1, 1], [0, 3, 1])


def test_repair_leaves_queries_of_others_alone():
    # query 1 is cheapest for object 0, which has all it wants
    cost = [[1, 2, 3], [2, 8, 7], [9, 9, 9]]
    assert _match(cost) == ([0, 2, 1], [0, 2, 1])


def test_without_free_query_the_cheapest_one_to_one_matching_overrides():
    # object 0 takes both queries; 0-1 and 1-0 cost 7, 0-0 and 1-1 cost 10
    cost, ious = [[1, 5], [2, 9]], [[1., 0.], [1., 0.]]
    assert _match(cost, ious) == ([1, 0], [1, 0])


def test_more_objects_than_queries():
    assert _match([[3, 1, 2]]) == ([1], [-1, 0, -1])
    cost = [[3., 1., 2., 6.], [3., 2., 1., 0.]]
    gt_inds, best_query = _match(cost)
    assert (gt_inds, best_query) == ([1, 3], [-1, 0, -1, 1])


def test_fewer_queries_than_candidates():
    assert _match([[1.], [2.], [3.]], [[1.], [1.], [1.]], 100) == ([0, 0,
                                                                    0], [0])
    assert _match([[1.]], [[0.]]) == ([0], [0])


@pytest.mark.parametrize('num_queries, num_gts', [(12, 12), (12, 9), (7, 3),
                                                  (40, 6), (5, 20), (1, 1),
                                                  (1, 5)])
def test_rules_on_random_costs(num_queries, num_gts):
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        shape = (num_queries, num_gts)
        cost = torch.rand(shape, generator=generator)
        # shared favourites, so that objects are left empty
        cost = cost + 3 * torch.rand(num_queries, 1, generator=generator)
        ious = torch.rand(shape, generator=generator)
        gt_inds, best_query = match_dynamic_k(cost, ious, 10)
        counts = torch.bincount(gt_inds[gt_inds >= 0], minlength=num_gts)
        assert int((counts > 0).sum()) == min(num_queries, num_gts)
        assert torch.equal(best_query >= 0, counts > 0)
        for gt in (counts > 0).nonzero()[:, 0]:
            mine = cost[:, gt].masked_fill(gt_inds != gt, torch.inf)
            assert best_query[gt] == mine.argmin()
        if num_gts > num_queries:
            least = cost[linear_sum_assignment(cost.numpy())].sum()
            assert_close(cost[range(num_queries), gt_inds].sum(), least)


def test_order_of_objects_and_queries_does_not_matter():
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        cost = torch.rand(30, 8, generator=generator)
        cost = cost + 2 * torch.rand(30, 1, generator=generator)
        ious = torch.rand(30, 8, generator=generator) / 2
        gt_inds, best_query = match_dynamic_k(cost, ious, 10)
        gt_perm = torch.randperm(8, generator=generator)
        query_perm = torch.randperm(30, generator=generator)
        permuted, permuted_best = match_dynamic_k(cost[query_perm][:, gt_perm],
                                                  ious[query_perm][:, gt_perm],
                                                  10)
        back = torch.cat([gt_perm, torch.tensor([-1])])  # -1 stays -1
        assert torch.equal(back[permuted], gt_inds[query_perm])
        assert torch.equal(query_perm[permuted_best], best_query[gt_perm])


def test_center_prior_by_hand():
    # the square is 2.5 / 32 = 0.078 to each side of the centre
    gt_boxes = _boxes([.1, .1, .5, .5], [.70, .70, .72, .72])
    centers = torch.tensor([
        [.30, .30],  # centre of object 0
        [.15, .15],  # inside box 0 only
        [.75, .75],  # inside square 1 only
        [.90, .10],  # far from all
        [.10, .30],  # on the border of box 0
    ])
    boxes = torch.cat([centers - 0.05, centers + 0.05], 1)
    cost = CenterPriorCost()(InstanceData(bboxes=boxes),
                             InstanceData(bboxes=gt_boxes), UNIT_IMAGE)
    assert cost.tolist() == [[0, 100], [100, 100], [100, 100], [10100, 10100],
                             [10100, 10100]]


def test_cost_by_hand():
    # one query on the object, one half as wide; class logit 0
    predictions = InstanceData(
        scores=torch.zeros(2, 3),
        bboxes=_boxes([.2, .2, .4, .4], [.2, .2, .3, .4]))
    ground_truth = InstanceData(
        labels=torch.tensor([1]), bboxes=_boxes([.2, .2, .4, .4]))
    cost, ious = OTAAssigner().compute_costs(predictions, ground_truth,
                                             UNIT_IMAGE)
    # focal, p = 0.5: (0.25 - 0.75) * 0.25 * log 2; GIoU = IoU = 1 and 0.5
    focal = -0.125 * math.log(2)
    assert_close(ious, torch.tensor([[1.], [0.5]]))
    assert_close(cost, torch.tensor([[focal - 3.], [focal - 1.5]]))


def test_assign_result():
    predictions = InstanceData(
        scores=torch.zeros(4, 3),
        bboxes=_boxes([.2, .2, .4, .4], [.7, .7, .9, .9], [.0, .0, .1, .1],
                      [.2, .2, .4, .4]))
    ground_truth = InstanceData(
        labels=torch.tensor([2, 1]),
        bboxes=_boxes([.7, .7, .9, .9], [.2, .2, .4, .4]))
    assigner = TASK_UTILS.build(dict(type='refinevis_mm.OTAAssigner'))
    result = assigner.assign(predictions, ground_truth, UNIT_IMAGE)
    assert result.num_gts == 2
    assert result.gt_inds.tolist() == [2, 1, 0, 2]
    assert result.labels.tolist() == [1, 2, -1, 1]
    assert result.get_extra_property('best_query_inds').tolist() == [1, 0]


@pytest.mark.parametrize('num_queries, num_gts', [(4, 0), (0, 2), (0, 0)])
def test_nothing_to_assign(num_queries, num_gts):
    predictions, ground_truth = _random_frame(num_queries, 0)
    ground_truth = InstanceData(
        labels=torch.zeros(num_gts, dtype=torch.long),
        bboxes=torch.rand(num_gts, 4))
    result = OTAAssigner().assign(predictions, ground_truth, UNIT_IMAGE)
    assert result.gt_inds.tolist() == [0] * num_queries
    assert result.labels.tolist() == [-1] * num_queries
    assert result.get_extra_property(
        'best_query_inds').tolist() == [-1] * num_gts


def test_unit_of_the_boxes_does_not_matter():
    predictions, ground_truth = _random_frame(60, 7)
    expected = OTAAssigner().assign(predictions, ground_truth, UNIT_IMAGE)
    scale = torch.tensor([640., 512., 640., 512.])
    predictions.bboxes = predictions.bboxes * scale
    ground_truth.bboxes = ground_truth.bboxes * scale
    result = OTAAssigner().assign(predictions, ground_truth,
                                  dict(img_shape=(512, 640)))
    assert torch.equal(result.gt_inds, expected.gt_inds)


def test_inputs_stay_and_runs_agree():
    predictions, ground_truth = _random_frame(60, 7)
    predictions.scores.requires_grad_()
    copies = [
        predictions.scores.detach().clone(),
        predictions.bboxes.clone(),
        ground_truth.bboxes.clone()
    ]
    first = OTAAssigner().assign(predictions, ground_truth, UNIT_IMAGE)
    second = OTAAssigner().assign(predictions, ground_truth, UNIT_IMAGE)
    assert torch.equal(first.gt_inds, second.gt_inds)
    assert torch.equal(predictions.scores, copies[0])
    assert torch.equal(predictions.bboxes, copies[1])
    assert torch.equal(ground_truth.bboxes, copies[2])
    cost, ious = torch.rand(4, 9), torch.rand(4, 9)
    copies = cost.clone(), ious.clone()
    match_dynamic_k(cost, ious, 10)
    assert torch.equal(cost, copies[0]) and torch.equal(ious, copies[1])


def test_match_costs_of_mmdet():
    # boxes and classes say nothing, the masks tell the queries apart
    predictions = InstanceData(
        scores=torch.zeros(3, 2),
        bboxes=_boxes([.2, .2, .4, .4]).expand(3, 4),
        masks=torch.tensor([[-9., 9.], [9., -9.], [-9., -9.]]))
    ground_truth = InstanceData(
        labels=torch.tensor([0, 1]),
        bboxes=_boxes([.7, .7, .9, .9]).expand(2, 4),
        masks=torch.tensor([[1., 0.], [0., 1.]]))
    assigner = TASK_UTILS.build(
        dict(
            type='refinevis_mm.OTAAssigner',
            match_costs=[
                dict(type='mmdet.FocalLossCost', weight=1., eps=1e-8),
                dict(type='mmdet.IoUCost', iou_mode='giou', weight=3.),
                dict(type='refinevis_mm.CenterPriorCost'),
                dict(type='mmdet.CrossEntropyLossCost', weight=5.),
                dict(type='mmdet.DiceCost', weight=5., pred_act=True, eps=1.)
            ]))
    result = assigner.assign(predictions, ground_truth, UNIT_IMAGE)
    assert result.gt_inds.tolist() == [2, 1, 0]


@pytest.mark.parametrize('owner, name', [('pred_instances', 'scores'),
                                         ('pred_instances', 'bboxes'),
                                         ('gt_instances', 'bboxes')])
def test_nan_is_named(owner, name):
    frame = dict(zip(('pred_instances', 'gt_instances'), _random_frame(20, 3)))
    frame[owner][name][1] = torch.nan
    with pytest.raises(FloatingPointError, match=f'from {owner}.{name}$'):
        OTAAssigner().assign(**frame, img_meta=UNIT_IMAGE)


@pytest.mark.parametrize('kwargs', [
    dict(num_candidates=0),
    dict(match_costs=[]),
])
def test_bad_arguments(kwargs):
    with pytest.raises(ValueError, match='must'):
        OTAAssigner(**kwargs)
