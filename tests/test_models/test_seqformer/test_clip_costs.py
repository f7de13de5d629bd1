# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Costs of boxes over a clip, against numbers worked out by hand."""
import torch
from mmengine.structures import InstanceData

from refinevis_mm.models import ClipBoxCost, ClipGIoUCost

# one query, one object, two frames: (cx, cy, w, h)
BOX = [0.5, 0.5, 0.2, 0.2]
SHIFTED = [0.6, 0.5, 0.2, 0.2]
ABSENT = [0.0] * 4


def boxes(*frames):
    return InstanceData(clip_boxes=torch.tensor([frames]))


def test_distance_is_euclidean_over_all_frames():
    cost = ClipBoxCost(weight=5.0)(boxes(BOX, BOX), boxes(SHIFTED, SHIFTED))
    torch.testing.assert_close(cost, torch.tensor([[5 * 0.02**0.5]]))


def test_giou_is_the_mean_over_frames():
    cost = ClipGIoUCost(weight=2.0)(boxes(BOX, BOX), boxes(BOX, SHIFTED))
    # 1, and 0.02 / 0.06 - 0: the hull is the union
    torch.testing.assert_close(cost, torch.tensor([[-(1 + 1 / 3)]]))


def test_absent_objects_count():
    cost = ClipGIoUCost()(boxes(BOX, BOX), boxes(BOX, ABSENT))
    # hull from the corner (0, 0) to (0.6, 0.6)
    expected = -(1 - (0.36 - 0.04) / 0.36) / 2
    torch.testing.assert_close(
        cost, torch.tensor([[expected]]), atol=1e-5, rtol=0)
    distance = ClipBoxCost()(boxes(BOX, BOX), boxes(BOX, ABSENT))
    torch.testing.assert_close(distance, torch.tensor([[0.58**0.5]]))
