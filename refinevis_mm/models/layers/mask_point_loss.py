# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Mask losses on sampled points, shared by frame level and refinement."""
from typing import Dict, Optional, Union

import torch
from mmcv.ops import point_sample
from mmdet.models.losses import CrossEntropyLoss, DiceLoss
from mmdet.models.utils import get_uncertain_point_coords_with_randomness
from torch import Tensor, nn

# Pixels of masks of full size that exist in fp32 at once.
MASK_PIXELS = 2**24


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

        The points of a mask of several frames are chosen frame by frame, and
        count as those of one mask.

        Args:
            mask_logits (Tensor): Predicted logits, has shape (P, h, w), or
                (P, T, h, w) of T frames.
            gt_masks (Tensor): Bool targets of any size that covers the same
                picture, has shape (U, H, W), or (U, T, H, W).
            avg_factor (float | Tensor): Normaliser, a number of masks.
            gt_inds (Tensor, optional): Target of each prediction, -1 for an
                empty one, has shape (P, ). Defaults to None: prediction i
                has target i, and U is P.

        Returns:
            dict[str, Tensor]: ``loss_mask`` and ``loss_dice``, scalars.
        """
        if len(mask_logits) == 0:
            zero = mask_logits.sum()
            return dict(loss_mask=zero, loss_dice=zero)
        if gt_inds is None:
            gt_inds = torch.arange(len(gt_masks), device=gt_masks.device)
        num_masks = len(mask_logits)
        if mask_logits.dim() == 4:
            gt_inds = _frame_inds(gt_inds, mask_logits.shape[1])
            mask_logits, gt_masks = (
                masks.flatten(0, 1) for masks in (mask_logits, gt_masks))
        mask_logits = mask_logits[:, None].float()
        with torch.no_grad():
            points = get_uncertain_point_coords_with_randomness(
                mask_logits, None, self.num_points, self.oversample_ratio,
                self.importance_sample_ratio)
            targets = _sample_masks(gt_masks, gt_inds, points)
        logits = point_sample(mask_logits, points)[:, 0]
        # (P, num_points), times T of several frames
        logits, targets = (
            values.reshape(num_masks, -1) for values in (logits, targets))
        return dict(
            loss_mask=self.loss_mask(
                logits, targets, avg_factor=avg_factor * logits.shape[1]),
            loss_dice=self.loss_dice(logits, targets, avg_factor=avg_factor))


def _frame_inds(gt_inds: Tensor, num_frames: int) -> Tensor:
    """Targets (P, ) of masks as those of their frames, (P * T, )."""
    frames = torch.arange(num_frames, device=gt_inds.device)
    inds = gt_inds[:, None] * num_frames + frames
    return inds.masked_fill(gt_inds[:, None] < 0, -1).flatten()


def _sample_masks(masks: Tensor, inds: Tensor, points: Tensor) -> Tensor:
    """Sample bool masks (U, H, W) at points (P, n, 2), has shape (P, n).

    Mask ``inds`` (P, ) of each row, nothing for -1; a few masks at a time,
    as all of them in fp32 may take gigabytes.
    """
    targets = points.new_zeros(points.shape[:2])
    chunk = max(MASK_PIXELS // masks.shape[1:].numel(), 1)
    for rows in (inds >= 0).nonzero().flatten().split(chunk):
        targets[rows] = point_sample(masks[inds[rows], None].float(),
                                     points[rows])[:, 0]
    return targets
