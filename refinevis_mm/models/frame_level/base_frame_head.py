# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the heads of our frame models have in common: Eq. (2) but for masks."""
from typing import Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor

from refinevis_mm.registry import MODELS, TASK_UTILS
from refinevis_mm.structures import FrameTargets, LayerOutput, QueryMatch
from ..layers.mask_point_loss import average_sets
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
                        layers: Sequence[LayerOutput],
                        assigned: List[Tensor],
                        avg_factors: Tensor,
                        cls_weights: Optional[List[Tensor]] = None,
                        shares: Optional[Tensor] = None) -> Dict[str, Tensor]:
        """Class loss on all queries, box losses on matched ones.

        All prediction sets are compared in one go.

        Args:
            gts (:obj:`FrameTargets`): Ground truth of all n frames.
            layers (Sequence[:obj:`LayerOutput`]): The S prediction sets.
            assigned (list[Tensor]): Row in ``gts`` of each query or -1, each
                has shape (n, Q).
            avg_factors (Tensor): Normaliser of each set, has shape (S, ).
            cls_weights (list[Tensor], optional): Weights of the class loss,
                each has shape (n, Q). Defaults to None, all 1.
            shares (Tensor, optional): ``picture_shares`` of the n frames, has
                shape (n, 2): boxes are compared relative to the pictures.
                Defaults to None, relative to the padded input.

        Returns:
            dict[str, Tensor]: ``loss_{cls,bbox,iou}``, each (S, ).
        """
        matched = [rows >= 0 for rows in assigned]
        rows = torch.cat([rows.flatten() for rows in assigned])
        boxes = torch.cat(
            [layer.boxes[match] for layer, match in zip(layers, matched)])
        gt_boxes = gts.boxes[rows[rows >= 0]]
        if shares is not None:
            frames = torch.cat([match.nonzero()[:, 0] for match in matched])
            scale = shares.repeat(1, 2)[frames]
            boxes, gt_boxes = boxes / scale, gt_boxes / scale
        # background is the last label, where index -1 looks
        labels = F.pad(gts.labels, (0, 1), value=self.num_classes)[rows]
        loss_cls = self.loss_cls(
            torch.cat([layer.cls_logits.flatten(0, 1)
                       for layer in layers]).float(),
            one_hot(labels, self.num_classes),
            None if cls_weights is None else torch.cat(
                [weight.flatten() for weight in cls_weights]),
            reduction_override='none')
        loss_bbox = loss_iou = boxes  # without boxes mmdet's have no rows
        if len(boxes) > 0:
            loss_bbox = self.loss_bbox(
                boxes, gt_boxes, reduction_override='none')
            loss_iou = self.loss_iou(
                bbox_cxcywh_to_xyxy(boxes),
                bbox_cxcywh_to_xyxy(gt_boxes),
                reduction_override='none')
        sizes = [match.numel() for match in matched]
        num_matched = torch.stack([match.sum() for match in matched]).tolist()
        return dict(
            loss_cls=average_sets(loss_cls, sizes, avg_factors),
            loss_bbox=average_sets(loss_bbox, num_matched, avg_factors),
            loss_iou=average_sets(loss_iou, num_matched, avg_factors))


def stack_losses(losses: List[Dict[str, Tensor]]) -> Dict[str, Tensor]:
    """Losses of S prediction sets, scalars, as one (S, ) for each name."""
    return {
        name: torch.stack([parts[name] for parts in losses])
        for name in losses[0]
    }


def name_losses(layers: Sequence[LayerOutput],
                parts: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Losses of prediction sets by name.

    Args:
        layers (Sequence[:obj:`LayerOutput`]): The S prediction sets.
        parts (dict[str, Tensor]): Losses of all sets, each (S, ).

    Returns:
        dict[str, Tensor]: Each under the prefix of its set.
    """
    by_set = zip(*[values.unbind() for values in parts.values()])
    return {
        f'{layer.prefix}{name}': loss
        for layer, losses in zip(layers, by_set)
        for name, loss in zip(parts, losses)
    }


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
