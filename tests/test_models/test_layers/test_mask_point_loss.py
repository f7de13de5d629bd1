# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

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
