# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch.testing import assert_close

from refinevis_mm.models.association import bisoftmax_similarity, mask_iou
from refinevis_mm.models.association.similarity import (box_closeness,
                                                        pool_masks,
                                                        soft_mask_iou)


def test_bisoftmax_by_hand():
    dets, tracks = math.log(3) * torch.eye(2), torch.eye(2)
    # each softmax is over (log 3, 0): 3/4 and 1/4
    assert_close(
        bisoftmax_similarity(dets, tracks),
        torch.tensor([[0.75, 0.25], [0.25, 0.75]]))


def test_bisoftmax_track_order_permutes_columns():
    torch.manual_seed(0)
    dets, tracks = torch.randn(4, 8), torch.randn(5, 8)
    order = torch.randperm(5)
    assert_close(
        bisoftmax_similarity(dets, tracks[order]),
        bisoftmax_similarity(dets, tracks)[:, order])


@pytest.mark.parametrize('num_dets, num_tracks', [(0, 3), (2, 0)])
def test_bisoftmax_empty(num_dets, num_tracks):
    dets, tracks = torch.ones(num_dets, 4), torch.ones(num_tracks, 4)
    similarity = bisoftmax_similarity(dets, tracks)
    assert similarity.shape == (num_dets, num_tracks)


def test_bisoftmax_refuses_other_dims():
    with pytest.raises(ValueError, match=r'got \(2, 4\) and \(2, 5\)'):
        bisoftmax_similarity(torch.ones(2, 4), torch.ones(2, 5))


def test_mask_iou_by_hand():
    masks = torch.zeros(4, 2, 4, dtype=torch.bool)
    masks[0, 0] = True  # 4 pixels
    masks[1, :, :2] = True  # 4 pixels, 2 shared with the first
    # two empty masks count as identical, as in IDOL
    expected = torch.tensor([[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 1],
                             [0, 0, 1, 1]])
    assert_close(mask_iou(masks), expected, rtol=0, atol=1e-6)
    assert_close(
        mask_iou(masks[:1], masks[1:]), expected[:1, 1:], rtol=0, atol=1e-6)


def test_mask_iou_refuses_other_size():
    with pytest.raises(ValueError, match='of one size'):
        mask_iou(torch.ones(1, 2, 2) > 0, torch.ones(1, 2, 3) > 0)


def test_small_masks_are_not_pooled():
    masks = torch.rand(3, 4, 6) > 0.5
    assert torch.equal(pool_masks(masks, 6), masks.float())
    assert pool_masks(masks[:0], 6).shape == (0, 4, 6)


def test_pooling_by_hand():
    mask = torch.tensor([[1, 1, 0, 0, 1], [1, 0, 0, 0, 1], [0, 0, 1, 1, 1]])
    # cells of 2 x 2; what lies outside of the mask counts as empty
    expected = torch.tensor([[3 / 4, 0, 2 / 4], [0, 2 / 4, 1 / 4]])
    assert_close(pool_masks(mask[None] > 0, 3)[0], expected)


@pytest.mark.parametrize('height, width', [(96, 48), (60, 101), (7, 383)])
def test_pooling_is_the_mean_of_cells(height, width):
    masks = torch.rand(2, height, width) > 0.5
    side = math.ceil(max(height, width) / 48)
    padded = F.pad(masks.float(), (0, -width % side, 0, -height % side))
    pooled = pool_masks(masks, 48)
    assert max(pooled.shape[1:]) <= 48
    assert_close(pooled, F.avg_pool2d(padded, side))
    assert pool_masks(masks[:0], 48).shape == (0, *pooled.shape[1:])


@pytest.mark.parametrize('size', [(384, 200), (1080, 1920), (2160, 3840)])
def test_every_nth_pixel_of_large_masks(size):
    masks = torch.zeros(2, *size, dtype=torch.bool)
    masks[0, :size[0] // 2] = True
    masks[1] = True
    pooled = pool_masks(masks, 48)
    assert max(pooled.shape[1:]) <= 48
    assert pooled.min() >= 0 and pooled.max() <= 1
    halves = pooled.sum((1, 2)) / pooled[1].sum()
    assert_close(halves, torch.tensor([0.5, 1.]), atol=0.03, rtol=0)


def test_soft_iou_by_hand():
    shares = torch.tensor([[1., 0.5, 0.], [0.5, 1., 0.], [0., 0., 0.]])
    # products: 1.25 with itself, 1 with the other: 1 / (1.25 + 1.25 - 1)
    expected = torch.tensor([[1., 2 / 3, 0.], [2 / 3, 1., 0.], [0., 0., 0.]])
    assert_close(soft_mask_iou(shares, shares), expected)
    assert soft_mask_iou(shares, shares[:0]).shape == (3, 0)


def test_soft_iou_of_whole_cells_is_the_iou():
    torch.manual_seed(0)
    masks, others = torch.rand(4, 6, 8) > 0.5, torch.rand(5, 6, 8) > 0.3
    assert_close(
        soft_mask_iou(
            pool_masks(masks, 8).flatten(1),
            pool_masks(others, 8).flatten(1)), mask_iou(masks, others))


def test_closeness_of_boxes_by_hand():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0., 0., 0., 0.]])
    others = torch.tensor([
        [0.5, 0.5, 0.2, 0.2],  # equal
        [0.6, 0.5, 0.2, 0.2],  # half a width away: IoU is 1/3
        [0.5, 0.5, 0.4, 0.2],  # twice as wide: IoU and ratio 1/2
        [0.9, 0.5, 0.2, 0.1],  # two widths away, half as high
        [0.52, 0.5, 0.4, 0.4],  # inside: IoU 1/4
    ])
    found = box_closeness(boxes, others)
    expected = [1, math.exp(-0.25), 0.5, 0.5 * math.exp(-4), 0.25]
    assert_close(found[0], torch.tensor(expected))
    assert found[1].max() < 1e-6  # the box of an empty mask
    assert box_closeness(boxes[:0], others).shape == (0, 5)
    assert box_closeness(boxes, others[:0]).shape == (2, 0)


def test_closeness_is_never_below_the_iou():
    torch.manual_seed(0)
    boxes, others = torch.rand(50, 4), torch.rand(40, 4)
    ious = bbox_overlaps(
        bbox_cxcywh_to_xyxy(boxes), bbox_cxcywh_to_xyxy(others), eps=1e-12)
    found = box_closeness(boxes, others)
    assert (found >= ious - 1e-6).all() and found.max() <= 1
    assert_close(found, box_closeness(others, boxes).t())
