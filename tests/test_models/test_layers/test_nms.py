# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import torch

from refinevis_mm.models.layers.nms import classwise_nms, greedy_nms


def test_greedy_nms_by_hand():
    """1 falls to 0, so it cannot remove 2; 3 falls to 2."""
    overlaps = np.eye(4, dtype=np.float32)
    for i, j, overlap in ((0, 1, 0.9), (1, 2, 0.9), (2, 3, 0.7)):
        overlaps[i, j] = overlaps[j, i] = overlap
    assert greedy_nms(overlaps, 0.5).tolist() == [0, 2]
    # an overlap at the threshold is not above it
    assert greedy_nms(overlaps, 0.7).tolist() == [0, 2, 3]
    assert greedy_nms(overlaps, 1.0).tolist() == [0, 1, 2, 3]
    none = greedy_nms(np.zeros((0, 0), np.float32), 0.5)
    assert none.shape == (0, ) and none.dtype == np.int64


def test_boxes_suppress_those_of_their_class():
    boxes = torch.tensor([[.5, .5, .4, .4], [.5, .5, .4, .4], [.5, .5, .4, .2],
                          [.1, .1, .1, .1]])
    labels = torch.tensor([0, 1, 0, 0])
    assert classwise_nms(boxes, labels, 0.4).tolist() == [0, 1, 3]
    assert classwise_nms(boxes, labels, 0.6).tolist() == [0, 1, 2, 3]
    tiny = boxes[:1].repeat(2, 1) * 1e-4  # areas below mmdet's guard
    assert classwise_nms(tiny, labels[:1].repeat(2), 0.9).tolist() == [0]
    assert classwise_nms(boxes[:0], labels[:0], 0.5).tolist() == []
