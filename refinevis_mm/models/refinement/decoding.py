# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From refined predictions to the result of a frame."""
import torch
from torch import Tensor

from refinevis_mm.structures import DecodedFrame, FrameTracks
from ..layers.mask_resize import resize_masks


def decode_tracks(tracks: FrameTracks,
                  cls_scores: Tensor,
                  mask_logits: Tensor,
                  exclusive_recovery: bool,
                  score_missed: bool = False,
                  mask_resize: str = 'bilinear',
                  recovery_visible_thr: float = 0.) -> DecodedFrame:
    """Full-size masks of a frame's tracklets.

    Args:
        tracks (:obj:`FrameTracks`): N tracklets before or after refinement.
        cls_scores (Tensor): Their class probabilities, has shape (N, K).
        mask_logits (Tensor): Their mask logits, has shape (N, h, w).
        exclusive_recovery (bool): See :func:`cut_recovered_masks`; False
            keeps recovered masks whole.
        score_missed (bool): Let the class scores of missed frames count in
            the mean of a tracklet. Defaults to False.
        mask_resize (str): Mode of :func:`resize_masks`. Defaults to
            'bilinear'.
        recovery_visible_thr (float): See :func:`leave_out_hidden`. Defaults
            to 0, which keeps all masks.

    Returns:
        :obj:`DecodedFrame`: The decoded frame.
    """
    mask_logits = resize_masks(mask_logits, tracks.meta, mask_resize)
    if recovery_visible_thr > 0:
        mask_logits = leave_out_hidden(mask_logits, tracks.detected,
                                       recovery_visible_thr)
    if exclusive_recovery and tracks.met is not None:
        masks = cut_recovered_masks(mask_logits, tracks.detected, tracks.met)
    else:
        masks = mask_logits > 0
    scored = tracks.detected
    if score_missed:
        scored = torch.ones_like(scored)
    return DecodedFrame(tracks.frame_id, tracks.ids, cls_scores,
                        tracks.detected, scored, masks)


def cut_recovered_masks(mask_logits: Tensor, detected: Tensor,
                        met: Tensor) -> Tensor:
    """Settle which pixels a recovered mask shares with detected objects.

    A pixel shows one object, and two tracklets detected in the same frame
    are two objects. Where the recovered mask of a missed object runs into an
    object it has met, the higher logit takes the pixel. A detected tracklet
    it has never met may be the same object under a new id: nothing is cut
    there. Masks of detected objects stay as they are.

    Args:
        mask_logits (Tensor): Mask logits, has shape (N, H, W).
        detected (Tensor): Bool, False for recovered masks, has shape (N, ).
        met (Tensor): Bool, True where two tracklets were detected in the
            same frame, has shape (N, N).

    Returns:
        Tensor: Bool masks, has shape (N, H, W).
    """
    masks = mask_logits > 0
    for row in (~detected).nonzero().flatten():
        for rival in (detected & met[row]).nonzero().flatten():
            masks[row] &= mask_logits[row] > mask_logits[rival]
    return masks


def leave_out_hidden(mask_logits: Tensor, detected: Tensor,
                     visible_thr: float) -> Tensor:
    """Recover nothing of what hides behind detected objects.

    A missed object is either overlooked or hidden, and refinement draws it in
    both cases. What was overlooked lies where no other object was found.

    Args:
        mask_logits (Tensor): Mask logits, has shape (N, H, W).
        detected (Tensor): Bool, False for recovered masks, has shape (N, ).
        visible_thr (float): Least share of the pixels of a recovered mask
            that no detected object covers, in (0, 1].

    Returns:
        Tensor: Mask logits, -inf all over where the mask is left out, has
        shape (N, H, W).
    """
    if detected.all():
        return mask_logits
    free = ~(mask_logits[detected] > 0).any(0)
    missed = mask_logits[~detected] > 0
    visible = (missed & free).sum((1, 2)) >= visible_thr * missed.sum((1, 2))
    hidden = ~detected
    hidden[~detected] = ~visible
    return mask_logits.masked_fill(hidden[:, None, None], -torch.inf)
