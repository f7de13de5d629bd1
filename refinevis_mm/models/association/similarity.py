# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pairwise measures of the association: embeddings and masks.

Shapes: M detections of a frame, N tracks in memory, E embedding dims.
"""
from functools import reduce
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

# IDOL adds this to intersection and union: two empty masks count as identical
MASK_IOU_EPS = 1e-6
MIN_BOX_SIZE = 1e-4  # of empty masks, whose box is 0


def bisoftmax_similarity(det_embeds: Tensor, track_embeds: Tensor) -> Tensor:
    r"""Similarity of every detection to every track, both directions.

    Mean of the softmax over tracks and the softmax over detections, the
    bi-directional softmax of `QDTrack <https://arxiv.org/abs/2006.06664>`_;
    RefineVIS Sec. 3.3.

    .. math:: s_{ij} = \tfrac12\big(\mathrm{softmax}_j(d_i t_j^\top) +
                                    \mathrm{softmax}_i(d_i t_j^\top)\big)

    Args:
        det_embeds (Tensor): Association embeddings of one frame, has shape
            (num_dets, embed_dims). Not normalised.
        track_embeds (Tensor): Track memory, has shape
            (num_tracks, embed_dims). Not normalised.

    Returns:
        Tensor: Similarity in [0, 1], has shape (num_dets, num_tracks).

    Raises:
        ValueError: If the embeddings are not 2-D or their dimensions differ.
    """
    if det_embeds.dim() != 2 or track_embeds.dim() != 2 or (
            det_embeds.size(1) != track_embeds.size(1)):
        raise ValueError(
            'det_embeds and track_embeds must be 2-D with equal embedding '
            f'dimensions, got {tuple(det_embeds.shape)} and '
            f'{tuple(track_embeds.shape)}')
    logits = det_embeds @ track_embeds.t()
    return (logits.softmax(dim=1) + logits.softmax(dim=0)) / 2


def mask_iou(masks: Tensor, other_masks: Optional[Tensor] = None) -> Tensor:
    """IoU of every mask with every other mask, as one matrix product.

    Args:
        masks (Tensor): Bool masks, has shape (num_masks, h, w).
        other_masks (Tensor, optional): Bool masks of the same size, has
            shape (num_others, h, w). Defaults to None, i.e. ``masks``.

    Returns:
        Tensor: float32 IoU in [0, 1], has shape (num_masks, num_others). Two
        empty masks have IoU 1, as in IDOL.

    Raises:
        ValueError: If the masks are not 3-D or their sizes differ.
    """
    others = masks if other_masks is None else other_masks
    if masks.dim() != 3 or masks.shape[1:] != others.shape[1:]:
        raise ValueError('masks must be 3-D of one size (h, w), got '
                         f'{tuple(masks.shape)} and {tuple(others.shape)}')
    # the CPU converts bytes to float three times as fast as bools
    flat = masks.flatten(1).byte().float()
    if other_masks is None:
        inter = flat @ flat.t()
        areas = other_areas = inter.diagonal()
    else:
        other_flat = others.flatten(1).byte().float()
        inter = flat @ other_flat.t()
        areas, other_areas = flat.sum(1), other_flat.sum(1)
    union = areas[:, None] + other_areas[None] - inter
    return (inter + MASK_IOU_EPS) / (union + MASK_IOU_EPS)


def pool_masks(masks: Tensor, max_cells: int) -> Tensor:
    """Masks as shares of grid cells, few enough for fast comparisons.

    Args:
        masks (Tensor): Bool masks, has shape (num_masks, h, w).
        max_cells (int): Most cells along a side; smaller masks stay as they
            are. Of masks at least eight times as large only every n-th
            pixel is read.

    Returns:
        Tensor: float32 shares in [0, 1], has shape (num_masks, h', w').
    """
    step = max(max(masks.shape[1:]) // (4 * max_cells), 1)
    masks = masks[:, ::step, ::step].view(torch.uint8)
    kernel = -(-max(masks.shape[1:]) // max_cells)
    if kernel == 1:
        return masks.float()
    bottom, right = (-side % kernel for side in masks.shape[1:])
    if bottom or right:
        masks = F.pad(masks, (0, right, 0, bottom))
    # sums of bytes, along the rows first: a third of the time of a pooling
    rows = reduce(torch.add, (masks[:, i::kernel] for i in range(kernel)))
    cells = reduce(torch.add, (rows[..., i::kernel] for i in range(kernel)))
    return cells.float().div_(kernel**2)


def soft_mask_iou(shares: Tensor, other_shares: Tensor) -> Tensor:
    """IoU of pooled masks (Tanimoto); exact where all shares are 0 or 1.

    Args:
        shares (Tensor): Flattened masks of :func:`pool_masks`, has shape
            (num_masks, num_cells).
        other_shares (Tensor): The same of others, has shape
            (num_others, num_cells).

    Returns:
        Tensor: float32 in [0, 1], 1 for equal masks and 0 where they do not
        meet or both are empty, has shape (num_masks, num_others).
    """
    inter = shares @ other_shares.t()
    squares = (shares * shares).sum(1)
    other_squares = (other_shares * other_shares).sum(1)
    union = squares[:, None] + other_squares[None] - inter
    # rounding must not lift equal masks above 1
    return (inter / union.clamp(min=MASK_IOU_EPS)).clamp_(max=1)


def box_closeness(boxes: Tensor, other_boxes: Tensor) -> Tensor:
    r"""IoU of boxes, or how near they are where they hardly meet.

    Things that move fast leave their box from frame to frame.

    .. math:: \max\big(\mathrm{IoU}, r \exp(-d^2)\big)

    with the distance d of the centres in units of the mean width and height,
    and the ratio r of the smaller to the larger width times that of the
    heights.

    Args:
        boxes (Tensor): Normalised (cx, cy, w, h), has shape (num_boxes, 4).
        other_boxes (Tensor): The same of others, has shape (num_others, 4).

    Returns:
        Tensor: In [0, 1], has shape (num_boxes, num_others).
    """
    sizes, others = (
        value[..., 2:].clamp(min=MIN_BOX_SIZE)
        for value in (boxes[:, None], other_boxes[None]))
    gaps = (boxes[:, None, :2] - other_boxes[None, :, :2]).abs()
    means, smaller = (sizes + others) / 2, torch.minimum(sizes, others)
    inter = torch.minimum(means - gaps, smaller).clamp_(min=0).prod(-1)
    ious = inter / (sizes.prod(-1) + others.prod(-1) - inter)
    ratios = (smaller / (2 * means - smaller)).prod(-1)
    distances = (gaps / means).square_().sum(-1)
    return torch.maximum(ious, ratios * torch.exp(-distances))
