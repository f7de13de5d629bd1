# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Positive and negative pairs for the association loss, Eq. (3)."""
from dataclasses import dataclass
from typing import List

import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch import Tensor

from refinevis_mm.structures import ClipTargets, FrameOutput


@dataclass
class ReferencePairs:
    """Anchors of key frames against queries of reference frames.

    Attributes:
        key_rows (Tensor): Frame row and query of each anchor, has shape
            (A, 2).
        ref_rows (Tensor): Frame row and query of each reference embedding,
            has shape (R, 2).
        positive (Tensor): Bool, same instance, has shape (A, R).
        negative (Tensor): Bool, certainly not this instance, has shape
            (A, R).
    """

    key_rows: Tensor
    ref_rows: Tensor
    positive: Tensor
    negative: Tensor


@torch.no_grad()
def select_reference_pairs(frames: FrameOutput, targets: List[ClipTargets],
                           matches: List[Tensor], pos_iou_thr: float,
                           neg_iou_thr: float) -> ReferencePairs:
    """Pair matched key queries with the queries of the other frames.

    An anchor is the key query matched to an instance that is visible in the
    reference frame too. Reference queries are positive when matched to the
    instance, or unmatched with box IoU of at least ``pos_iou_thr`` to it and
    to no other instance more; negative when matched to another instance, or
    unmatched with IoU below ``neg_iou_thr``; ignored otherwise. IoU bands
    keep near-duplicates out of the negatives.

    Args:
        frames (:obj:`FrameOutput`): Output for bs * T frames.
        targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips;
            frame 0 is the key frame.
        matches (list[Tensor]): For each of the bs * T frames the index into
            that frame's ground truth of every query, or -1, each (Q, ).
        pos_iou_thr (float): Least IoU of an unmatched positive.
        neg_iou_thr (float): IoU below which an unmatched query is negative.

    Returns:
        :obj:`ReferencePairs`: Pairs of all clips; pairs across clips are
        neither positive nor negative.
    """
    num_frames = len(targets[0].frame_inds)
    key_rows, ref_rows, positives, negatives = [], [], [], []
    for clip, target in enumerate(targets):
        key_row = clip * num_frames
        key_query = _query_of_slot(matches[key_row], target, 0)
        for t in range(1, num_frames):
            slots = ((key_query >= 0) & target.valid[t]).nonzero().flatten()
            positive, negative = _label_queries(frames.boxes[key_row + t],
                                                matches[key_row + t], target,
                                                t, slots, pos_iou_thr,
                                                neg_iou_thr)
            key_rows.append(_rows(key_row, key_query[slots]))
            ref_rows.append(
                _rows(key_row + t,
                      torch.arange(positive.shape[1], device=slots.device)))
            positives.append(positive)
            negatives.append(negative)
    return ReferencePairs(
        torch.cat(key_rows), torch.cat(ref_rows),
        torch.block_diag(*positives).bool(),
        torch.block_diag(*negatives).bool())


def _rows(row: int, queries: Tensor) -> Tensor:
    """Stack a constant frame row with query indices, (n, 2)."""
    return torch.stack([torch.full_like(queries, row), queries], -1)


def _query_of_slot(match: Tensor, target: ClipTargets, t: int) -> Tensor:
    """Query matched to each slot in frame ``t`` or -1, has shape (S, )."""
    query_of_slot = match.new_full((target.num_slots, ), -1)
    queries = (match >= 0).nonzero().flatten()
    query_of_slot[target.frame(t).slots[match[queries]]] = queries
    return query_of_slot


def _label_queries(boxes: Tensor, match: Tensor, target: ClipTargets, t: int,
                   slots: Tensor, pos_iou_thr: float, neg_iou_thr: float):
    """Positive and negative queries of some slots, each (len(slots), Q)."""
    gt = target.frame(t)
    ious = bbox_overlaps(
        bbox_cxcywh_to_xyxy(target.boxes[t, slots]),
        bbox_cxcywh_to_xyxy(boxes))  # (n, Q)
    best_slot = torch.full_like(match, -1)
    if len(gt) > 0:
        best = bbox_overlaps(
            bbox_cxcywh_to_xyxy(gt.boxes),
            bbox_cxcywh_to_xyxy(boxes)).argmax(0)
        best_slot = gt.slots[best]
    is_matched = match >= 0
    matched_slot = torch.full_like(match, -1)
    matched_slot[is_matched] = gt.slots[match[is_matched]]
    same = matched_slot[None] == slots[:, None]
    other = is_matched[None] & ~same
    nearest = best_slot[None] == slots[:, None]
    positive = same | (~is_matched & nearest & (ious >= pos_iou_thr))
    negative = other | (~is_matched & (ious < neg_iou_thr))
    return positive, negative
