# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pairwise measures of the association: embeddings and masks.

Shapes: M detections of a frame, N tracks in memory, E embedding dims.
"""
from typing import Optional

from torch import Tensor

# IDOL adds this to intersection and union: two empty masks count as identical
MASK_IOU_EPS = 1e-6


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
