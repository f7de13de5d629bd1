# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Costs of matching the boxes of queries and objects over a clip."""
from typing import Optional

import torch
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import TASK_UTILS

# Least side of a box of ground truth: absent objects have boxes of zeros.
MIN_SIDE = 1e-7


@TASK_UTILS.register_module()
class ClipBoxCost(BaseMatchCost):
    """Euclidean distance of the boxes of all frames as one vector.

    The official code means L1 and calls ``cdist``, which is L2.

    Args:
        weight (float): Weight of the cost. Defaults to 1.
    """

    def __call__(self,
                 pred_instances: InstanceData,
                 gt_instances: InstanceData,
                 img_meta: Optional[dict] = None,
                 **kwargs) -> Tensor:
        """Compute the cost.

        Args:
            pred_instances (:obj:`InstanceData`): ``clip_boxes``, normalised
                (cx, cy, w, h), has shape (Q, T, 4).
            gt_instances (:obj:`InstanceData`): ``clip_boxes``, zeros where an
                object is absent, has shape (n, T, 4).
            img_meta (dict, optional): Not read.

        Returns:
            Tensor: Has shape (Q, n).
        """
        return self.weight * torch.cdist(
            pred_instances.clip_boxes.flatten(1),
            gt_instances.clip_boxes.flatten(1))


@TASK_UTILS.register_module()
class ClipGIoUCost(BaseMatchCost):
    """Negative generalised IoU, the mean over all frames.

    Args:
        weight (float): Weight of the cost. Defaults to 1.
    """

    def __call__(self,
                 pred_instances: InstanceData,
                 gt_instances: InstanceData,
                 img_meta: Optional[dict] = None,
                 **kwargs) -> Tensor:
        """Compute the cost.

        Args:
            pred_instances (:obj:`InstanceData`): See :class:`ClipBoxCost`.
            gt_instances (:obj:`InstanceData`): The same.
            img_meta (dict, optional): Not read.

        Returns:
            Tensor: Has shape (Q, n).
        """
        boxes, gt_boxes = [
            bbox_cxcywh_to_xyxy(instances.transpose(0, 1))
            for instances in (pred_instances.clip_boxes,
                              gt_instances.clip_boxes.clamp(MIN_SIDE, 1))
        ]
        overlaps = bbox_overlaps(boxes, gt_boxes, mode='giou')  # (T, Q, n)
        return -self.weight * overlaps.mean(0)
