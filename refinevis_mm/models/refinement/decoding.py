# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From refined predictions to the result of a frame."""
from torch import Tensor

from refinevis_mm.structures import FrameResult, FrameTracks
from ..layers.mask_resize import resize_masks


def decode_tracks(tracks: FrameTracks, cls_scores: Tensor, mask_logits: Tensor,
                  cover_thr: float) -> FrameResult:
    """Full-size masks of a frame's tracklets.

    Args:
        tracks (:obj:`FrameTracks`): N tracklets before or after refinement.
        cls_scores (Tensor): Their class probabilities, has shape (N, K).
        mask_logits (Tensor): Their mask logits, has shape (N, h, w).
        cover_thr (float): See :func:`covered_by_detections`; covered masks
            of missed objects are left out.

    Returns:
        :obj:`FrameResult`: Without discarded ids.
    """
    keep = tracks.real | ~covered_by_detections(mask_logits > 0, tracks.real,
                                                cover_thr)
    masks = resize_masks(mask_logits[keep], tracks.meta) > 0
    ids = [i for i, kept in zip(tracks.ids, keep.tolist()) if kept]
    return FrameResult(tracks.frame_id, ids, cls_scores[keep],
                       tracks.real[keep], masks)


def covered_by_detections(masks: Tensor, real: Tensor,
                          cover_thr: float) -> Tensor:
    """Which masks mostly repeat the detected objects of their frame.

    A pixel shows one object. A mask recovered for a missed object that lies
    on pixels of detected ones has found those instead.

    Args:
        masks (Tensor): Bool masks, has shape (N, h, w).
        real (Tensor): Bool, True for detected objects, has shape (N, ).
        cover_thr (float): Share of a mask's pixels, in [0, 1].

    Returns:
        Tensor: Bool, True where more than that share lies on detected
        objects, has shape (N, ). Empty masks are not covered.
    """
    detected = masks[real].any(0)
    area = masks.flatten(1).sum(1)
    covered = (masks & detected).flatten(1).sum(1)
    return covered > cover_thr * area
