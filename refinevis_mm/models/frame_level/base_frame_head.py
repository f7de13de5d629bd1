# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the heads of our frame models have in common: Eq. (2) but for masks."""
from typing import Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor

from refinevis_mm.registry import MODELS, TASK_UTILS
from refinevis_mm.structures import FrameTargets, LayerOutput, QueryMatch
from .matching import one_hot


class BaseFrameHead(BaseModule):
    """Matches queries to ground truth and compares classes and boxes.

    Args:
        num_classes (int): Number of classes K; sigmoid, no background column.
        assigner (dict): Matcher of queries to ground truth; one-to-many
            matchers set the extra property ``best_query_inds``.
        loss_cls (dict): Class loss.
        loss_bbox (dict): Box L1 loss on normalised (cx, cy, w, h).
        loss_iou (dict): Box IoU loss.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 num_classes: int,
                 assigner: ConfigType,
                 loss_cls: ConfigType,
                 loss_bbox: ConfigType,
                 loss_iou: ConfigType,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.assigner = TASK_UTILS.build(assigner)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_iou = MODELS.build(loss_iou)

    def loss_detections(self,
                        gts: FrameTargets,
                        layer: LayerOutput,
                        assigned: Tensor,
                        avg_factor: Tensor,
                        cls_weight: Tensor,
                        shares: Optional[Tensor] = None) -> Dict[str, Tensor]:
        """Class loss on all queries, box losses on matched ones.

        Args:
            gts (:obj:`FrameTargets`): Ground truth of all n frames.
            layer (:obj:`LayerOutput`): Predictions.
            assigned (Tensor): Row in ``gts`` of each query or -1, has shape
                (n, Q).
            avg_factor (Tensor): Normaliser.
            cls_weight (Tensor): Weights of the class loss, has shape (n, Q).
            shares (Tensor, optional): ``picture_shares`` of the n frames, has
                shape (n, 2): boxes are compared relative to the pictures.
                Defaults to None, relative to the padded input.

        Returns:
            dict[str, Tensor]: ``loss_{cls,bbox,iou}``.
        """
        matched = assigned >= 0
        boxes, gt_boxes = layer.boxes[matched], gts.boxes[assigned[matched]]
        if shares is not None:
            scale = shares.repeat(1, 2)[matched.nonzero()[:, 0]]
            boxes, gt_boxes = boxes / scale, gt_boxes / scale
        # background is the last label, where index -1 looks
        labels = F.pad(gts.labels, (0, 1), value=self.num_classes)[assigned]
        return dict(
            loss_cls=self.loss_cls(
                layer.cls_logits.flatten(0, 1),
                one_hot(labels, self.num_classes).flatten(0, 1),
                cls_weight.flatten(),
                avg_factor=avg_factor),
            loss_bbox=self.loss_bbox(boxes, gt_boxes, avg_factor=avg_factor),
            loss_iou=self.loss_iou(
                bbox_cxcywh_to_xyxy(boxes),
                bbox_cxcywh_to_xyxy(gt_boxes),
                avg_factor=avg_factor))


def join_frames(targets: List[FrameTargets]) -> Tuple[FrameTargets, Tensor]:
    """Ground truth of several frames in one table.

    Args:
        targets (list[:obj:`FrameTargets`]): Ground truth of n frames.

    Returns:
        tuple: The table and the first row of each frame, (n, 1).
    """
    table = FrameTargets(*[
        torch.cat([getattr(target, name) for target in targets])
        for name in ('labels', 'boxes', 'masks', 'slots')
    ])
    counts = table.labels.new_tensor([len(target) for target in targets])
    return table, (counts.cumsum(0) - counts)[:, None]


def assigned_rows(matches: List[QueryMatch], first: Tensor) -> Tensor:
    """Rows of the joined table that queries are matched to.

    Args:
        matches (list[:obj:`QueryMatch`]): Of n frames.
        first (Tensor): First row of each frame, has shape (n, 1).

    Returns:
        Tensor: Row of each query or -1, has shape (n, Q).
    """
    gt_inds = torch.stack([frame.gt_inds for frame in matches])
    return torch.where(gt_inds < 0, -1, gt_inds + first)
