# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.layers import MaskPointLoss


def test_constant_logits_by_hand():
    # every one of 8 points has p = .5 on an empty target: BCE = log 2 and
    # Dice = 1 - 1 / (4 + 0 + 1)
    loss = MaskPointLoss(num_points=8, mask_weight=5.0, dice_weight=2.0)
    out = loss(
        torch.zeros(3, 4, 4),
        torch.zeros(3, 16, 16, dtype=torch.bool),
        avg_factor=3)
    assert_close(out['loss_mask'], torch.tensor(5 * math.log(2)))
    assert_close(out['loss_dice'], torch.tensor(2 * 0.8))


def test_no_mask_keeps_the_graph():
    logits = torch.zeros(0, 4, 4, requires_grad=True)
    out = MaskPointLoss(num_points=8)(
        logits, torch.zeros(0, 16, 16, dtype=torch.bool), avg_factor=1)
    (out['loss_mask'] + out['loss_dice']).backward()
    assert out['loss_mask'] == 0 and logits.grad is not None


def test_a_mask_of_several_frames_counts_once():
    # p = .5 on 3 x 8 points: Dice = 1 - 1 / (12 + 0 + 1)
    loss = MaskPointLoss(num_points=8, mask_weight=5.0, dice_weight=2.0)
    masks = torch.zeros(2, 3, 16, 16, dtype=torch.bool)
    out = loss(torch.zeros(2, 3, 4, 4), masks, avg_factor=2)
    assert_close(out['loss_mask'], torch.tensor(5 * math.log(2)))
    assert_close(out['loss_dice'], torch.tensor(2 * 12 / 13))


def test_points_are_chosen_frame_by_frame():
    loss = MaskPointLoss(num_points=8)
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 3, 4, 4), torch.rand(2, 3, 16, 16) > 0.5
    torch.manual_seed(1)
    clips = loss(logits, masks, avg_factor=2)
    torch.manual_seed(1)
    frames = loss(logits.flatten(0, 1), masks.flatten(0, 1), avg_factor=6)
    assert_close(clips['loss_mask'], frames['loss_mask'])
    assert (clips['loss_dice'] - frames['loss_dice']).abs() > 1e-4


def test_targets_of_several_frames_by_index():
    loss = MaskPointLoss(num_points=8)
    torch.manual_seed(0)
    logits, masks = torch.randn(3, 2, 4, 4), torch.rand(2, 2, 16, 16) > 0.5
    torch.manual_seed(1)
    found = loss(logits, masks, avg_factor=3, gt_inds=torch.tensor([-1, 1, 0]))
    torch.manual_seed(1)
    empty = torch.zeros_like(masks[:1])
    expected = loss(
        logits, torch.cat([empty, masks[1:], masks[:1]]), avg_factor=3)
    assert found == expected


def test_a_mask_that_several_predictions_share():
    loss = MaskPointLoss(num_points=8)
    torch.manual_seed(0)
    logits, masks = torch.randn(4, 4, 4), torch.rand(2, 16, 16) > 0.5
    inds = torch.tensor([1, 0, 1, 1])
    torch.manual_seed(1)
    found = loss(logits, masks, avg_factor=4, gt_inds=inds)
    torch.manual_seed(1)
    assert found == loss(logits, masks[inds], avg_factor=4)
    with pytest.raises(IndexError):
        loss(logits, masks, avg_factor=4, gt_inds=inds + 1)
