# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.association import bisoftmax_similarity, mask_iou


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
