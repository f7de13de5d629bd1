# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Mask losses on sampled points, shared by frame level and refinement."""
from typing import Dict, List, Optional, Union

import torch
from mmcv.ops import point_sample
from mmdet.models.losses import CrossEntropyLoss, DiceLoss
from mmdet.models.utils import get_uncertain_point_coords_with_randomness
from torch import Tensor, nn


class MaskPointLoss(nn.Module):
    """Binary cross entropy and Dice on PointRend points.

    RefineVIS Sec. 3.2 (mask part of Eq. (2)) and Eq. (5), as MaskDINO
    computes them.

    Args:
        num_points (int): Points per mask. Defaults to 12544 (112 x 112).
        oversample_ratio (float): Candidates per point. Defaults to 3.0.
        importance_sample_ratio (float): Share of the points taken where the
            logit is nearest to 0. Defaults to 0.75.
        mask_weight (float): Weight of the cross entropy. Defaults to 5.0.
        dice_weight (float): Weight of the Dice loss. Defaults to 5.0.
    """

    def __init__(self,
                 num_points: int = 12544,
                 oversample_ratio: float = 3.0,
                 importance_sample_ratio: float = 0.75,
                 mask_weight: float = 5.0,
                 dice_weight: float = 5.0) -> None:
        super().__init__()
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.loss_mask = CrossEntropyLoss(
            use_sigmoid=True, loss_weight=mask_weight)
        self.loss_dice = DiceLoss(
            naive_dice=True, eps=1.0, loss_weight=dice_weight)

    def forward(self,
                mask_logits: Tensor,
                gt_masks: Tensor,
                avg_factor: Union[float, Tensor],
                gt_inds: Optional[Tensor] = None) -> Dict[str, Tensor]:
        """Compute both losses.

        Args:
            mask_logits (Tensor): See :meth:`by_mask`.
            gt_masks (Tensor): See :meth:`by_mask`.
            avg_factor (float | Tensor): Normaliser, a number of masks.
            gt_inds (Tensor, optional): See :meth:`by_mask`.

        Returns:
            dict[str, Tensor]: ``loss_mask`` and ``loss_dice``, scalars.
        """
        losses = self.by_mask(mask_logits, gt_masks, gt_inds)
        sizes = [len(mask_logits)]
        return {
            name: average_sets(values, sizes, avg_factor)[0]
            for name, values in losses.items()
        }

    def by_mask(self,
                mask_logits: Tensor,
                gt_masks: Tensor,
                gt_inds: Optional[Tensor] = None,
                set_sizes: Optional[List[int]] = None) -> Dict[str, Tensor]:
        """Compute both losses of every mask.

        The points of a mask of several frames are chosen frame by frame, and
        count as those of one mask.

        Args:
            mask_logits (Tensor): Predicted logits, has shape (P, h, w), or
                (P, T, h, w) of T frames.
            gt_masks (Tensor): Bool targets of any size that covers the same
                picture, has shape (U, H, W), or (U, T, H, W).
            gt_inds (Tensor, optional): Target of each prediction, -1 for an
                empty one, has shape (P, ). Defaults to None: prediction i
                has target i, and U is P.
            set_sizes (list[int], optional): Masks of each prediction set,
                for which points are drawn set by set. Defaults to None, one
                set.

        Returns:
            dict[str, Tensor]: ``loss_mask`` and ``loss_dice``, each (P, ).
        """
        num_masks = len(mask_logits)
        if num_masks == 0:
            none = mask_logits.flatten()
            return dict(loss_mask=none, loss_dice=none)
        if gt_inds is None:
            gt_inds = torch.arange(len(gt_masks), device=gt_masks.device)
        sizes = set_sizes or [num_masks]
        if mask_logits.dim() == 4:
            num_frames = mask_logits.shape[1]
            gt_inds = _frame_inds(gt_inds, num_frames)
            sizes = [size * num_frames for size in sizes]
            mask_logits, gt_masks = (
                masks.flatten(0, 1) for masks in (mask_logits, gt_masks))
        mask_logits = mask_logits[:, None].float()
        with torch.no_grad():
            points = torch.cat([
                get_uncertain_point_coords_with_randomness(
                    logits, None, self.num_points, self.oversample_ratio,
                    self.importance_sample_ratio)
                for logits in mask_logits.split(sizes) if len(logits)
            ])
            targets = _sample_masks(gt_masks, gt_inds, points)
        logits = point_sample(mask_logits, points)[:, 0]
        # (P, num_points), times T of several frames
        logits, targets = (
            values.reshape(num_masks, -1) for values in (logits, targets))
        return dict(
            loss_mask=self.loss_mask(
                logits, targets, reduction_override='none').mean(1),
            loss_dice=self.loss_dice(
                logits, targets, reduction_override='none'))


def average_sets(values: Tensor, sizes: List[int],
                 avg_factor: Union[float, Tensor]) -> Tensor:
    """Losses of several prediction sets, as mmdet averages those of one.

    Args:
        values (Tensor): Losses of what is compared, the sets one after the
            other, has shape (P, ...).
        sizes (list[int]): Rows of each of the S sets.
        avg_factor (float | Tensor): Normaliser, one or one of each set.

    Returns:
        Tensor: Sums over the normaliser, has shape (S, ).
    """
    sums = torch.stack([part.sum() for part in values.split(sizes)])
    return sums / (avg_factor + torch.finfo(torch.float32).eps)


def _frame_inds(gt_inds: Tensor, num_frames: int) -> Tensor:
    """Targets (P, ) of masks as those of their frames, (P * T, )."""
    frames = torch.arange(num_frames, device=gt_inds.device)
    inds = gt_inds[:, None] * num_frames + frames
    return inds.masked_fill(gt_inds[:, None] < 0, -1).flatten()


def _sample_masks(masks: Tensor, inds: Tensor, points: Tensor) -> Tensor:
    """Sample bool masks (U, H, W) at points (P, n, 2), has shape (P, n).

    Mask ``inds`` (P, ) of each row, nothing for -1. A mask is made fp32 once
    for all its rows, and no other one beside it: all of them may take
    gigabytes.
    """
    targets = points.new_zeros(points.shape[:2])
    order = inds.argsort(stable=True)
    used, counts = inds[order].unique_consecutive(return_counts=True)
    for i, rows in zip(used.tolist(), order.split(counts.tolist())):
        if i >= 0:
            found = point_sample(masks[i, None, None].float(),
                                 points[rows].flatten(0, 1)[None])
            targets[rows] = found.view(len(rows), -1)
    return targets
