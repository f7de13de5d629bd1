# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models.layers import GIoUCost, GIoULoss, giou

# overlap 0.01, union 0.07, enclosing square 0.09
FIRST, SECOND = [0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.4, 0.4]


def test_giou_by_hand():
    value = giou(torch.tensor(FIRST), torch.tensor(SECOND))
    expected = 0.01 / (0.07 + 1e-6) - 0.02 / (0.09 + 1e-6)
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_small_boxes_follow_the_official_guard():
    """Boxes of side 0.001: mmdet's GIoU is 1, the official one is not."""
    box = torch.tensor([0.5, 0.5, 0.501, 0.501])
    assert giou(box, box).item() == pytest.approx(0.5, abs=1e-3)
    assert_close(
        giou(torch.tensor(FIRST), torch.tensor(SECOND)),
        bbox_overlaps(
            torch.tensor([FIRST]), torch.tensor([SECOND]), mode='giou')[0, 0],
        atol=2e-5,
        rtol=0)


def test_loss_and_cost():
    pred = torch.tensor([FIRST, SECOND], requires_grad=True)
    target = torch.tensor([SECOND, SECOND])
    value = giou(pred[0], target[0]).item()
    loss = GIoULoss(loss_weight=2.0)(pred, target, avg_factor=4)
    same = 2 * (1 - 0.04 / (0.04 + 1e-6))
    assert loss.item() == pytest.approx((2 * (1 - value) + same) / 4, abs=1e-5)
    loss.backward()
    assert torch.isfinite(pred.grad).all()
    cost = GIoUCost(weight=3.0)(InstanceData(bboxes=pred.detach()),
                                InstanceData(bboxes=target[:1]))
    assert cost.shape == (2, 1)
    assert cost[0, 0].item() == pytest.approx(-3 * value, abs=1e-5)


def test_no_boxes():
    pred = torch.zeros(0, 4, requires_grad=True)
    loss = GIoULoss()(pred, torch.zeros(0, 4), avg_factor=1)
    loss.backward()
    assert loss.item() == 0
