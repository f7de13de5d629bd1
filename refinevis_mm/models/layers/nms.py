# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Greedy suppression of what overlaps, of boxes and of masks."""
import numpy as np
import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch import Tensor

# normalised boxes can be smaller than the guard of `bbox_overlaps`, 1e-6
BOX_AREA_EPS = 1e-12


@torch.no_grad()
def classwise_nms(boxes: Tensor, labels: Tensor, thr: float) -> Tensor:
    """Greedy NMS of boxes within each class.

    Args:
        boxes (Tensor): Normalised (cx, cy, w, h), sorted by falling score,
            has shape (M, 4).
        labels (Tensor): Classes, has shape (M, ).
        thr (float): A box is removed by a kept better one of its class if
            their IoU is above this.

    Returns:
        Tensor: Ascending long indices of the kept boxes, has shape
        (num_kept, ).
    """
    corners = bbox_cxcywh_to_xyxy(boxes.float())
    overlaps = bbox_overlaps(corners, corners, eps=BOX_AREA_EPS)
    overlaps *= labels[:, None] == labels[None]
    keep = greedy_nms(overlaps.cpu().numpy(), thr)
    return torch.from_numpy(keep).to(boxes.device)


def greedy_nms(overlaps: np.ndarray, thr: float) -> np.ndarray:
    """Indices kept by greedy NMS of rows sorted by descending score.

    Args:
        overlaps (np.ndarray): IoU, has shape (num, num).
        thr (float): A row is removed by a kept one before it if their IoU is
            above this.

    Returns:
        np.ndarray: Ascending int64 indices, has shape (num_kept, ).
    """
    above = overlaps > np.float32(thr)
    keep = np.ones(len(above), dtype=bool)
    for i in range(len(above)):
        if keep[i]:
            keep[i + 1:] &= ~above[i, i + 1:]
    return keep.nonzero()[0]
