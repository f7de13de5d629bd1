# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Generalised IoU of normalised boxes, as loss and as matching cost.

mmdet keeps divisions finite by ``max(area, eps)``, the official MaskDINO by
``area + eps``. With boxes in [0, 1] an object of a hundredth of the image's
side has an area of 1e-4, and the two differ in the third digit.
"""
from typing import Optional, Union

import torch
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmengine.structures import InstanceData
from torch import Tensor, nn

from refinevis_mm.registry import MODELS, TASK_UTILS

# Added to union and enclosing area, from the official code.
AREA_EPS = 1e-6


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """`Generalised IoU <https://arxiv.org/abs/1902.09630>`_.

    Args:
        boxes (Tensor): Normalised (x1, y1, x2, y2), has shape (..., 4).
        others (Tensor): The same, broadcastable to ``boxes``.

    Returns:
        Tensor: In (-1, 1], has the broadcast shape (...).
    """
    top_left = torch.maximum(boxes[..., :2], others[..., :2])
    bottom_right = torch.minimum(boxes[..., 2:], others[..., 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(-1)
    union = _area(boxes) + _area(others) - overlap
    top_left = torch.minimum(boxes[..., :2], others[..., :2])
    bottom_right = torch.maximum(boxes[..., 2:], others[..., 2:])
    enclosing = (bottom_right - top_left).clamp(min=0).prod(-1)
    return overlap / (union + AREA_EPS) - (enclosing - union) / (
        enclosing + AREA_EPS)


def _area(boxes: Tensor) -> Tensor:
    """Areas (...) of (x1, y1, x2, y2) boxes (..., 4)."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


@MODELS.register_module()
class GIoULoss(nn.Module):
    """``1 - GIoU`` of aligned boxes.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 1.0.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self,
                pred: Tensor,
                target: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[Union[float, Tensor]] = None,
                reduction_override: Optional[str] = None) -> Tensor:
        """Compute the loss.

        Args:
            pred (Tensor): Normalised (x1, y1, x2, y2), has shape (n, 4).
            target (Tensor): The same, has shape (n, 4).
            weight (Tensor, optional): Weight of each box, has shape (n, ).
            avg_factor (float | Tensor, optional): Normaliser; n by default.
            reduction_override (str, optional): 'none', 'mean' or 'sum'.
                Defaults to None, the mean.

        Returns:
            Tensor: Weighted loss, a scalar or (n, ).
        """
        loss = 1 - giou(pred, target)
        return self.loss_weight * weight_reduce_loss(
            loss, weight, reduction_override or 'mean', avg_factor=avg_factor)


@TASK_UTILS.register_module()
class GIoUCost(BaseMatchCost):
    """``-GIoU`` of every query and object, on normalised boxes."""

    def __call__(self,
                 pred_instances: InstanceData,
                 gt_instances: InstanceData,
                 img_meta: Optional[dict] = None,
                 **kwargs) -> Tensor:
        """Compute the cost.

        Args:
            pred_instances (:obj:`InstanceData`): ``bboxes`` (Q, 4).
            gt_instances (:obj:`InstanceData`): ``bboxes`` (n, 4).
            img_meta (dict, optional): Unused.

        Returns:
            Tensor: Has shape (Q, n).
        """
        overlaps = giou(pred_instances.bboxes[:, None],
                        gt_instances.bboxes[None])
        return -overlaps * self.weight
