# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tracklets for training TAR, from ground-truth matching."""
from typing import List

import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch import Tensor

from refinevis_mm.structures import (ClipTargets, FrameOutput, QueryMatch,
                                     TrackletBatch, interpolate_boxes)
from ..association.similarity import bisoftmax_similarity


def build_training_tracklets(frames: FrameOutput, targets: List[ClipTargets],
                             matches: List[QueryMatch], score_thr: float,
                             iou_thr: float,
                             num_background: int) -> TrackletBatch:
    """Positive tracklets of the instances, and background tracklets.

    A positive tracklet strings together the best queries of one instance.
    A match counts only above relaxed thresholds (paper Sec. 4.1: "a lower
    threshold of IoU and prediction confidence"), otherwise the frame holds
    the zero embedding; instances without any accepted match are left out. A
    background tracklet joins a confident unmatched query of the first frame
    to the most similar unmatched query of every later frame.

    Args:
        frames (:obj:`FrameOutput`): Output for bs * T frames with
            association embeddings.
        targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips.
        matches (list[:obj:`QueryMatch`]): Matched queries of the bs * T
            frames.
        score_thr (float): Least score of the true class.
        iou_thr (float): Least box IoU with the ground truth.
        num_background (int): Background tracklets per clip at most.

    Returns:
        :obj:`TrackletBatch`: Tracklets, positives of all clips first.
    """
    num_frames = len(targets[0].frame_inds)
    positives, backgrounds = [], []
    for clip, target in enumerate(targets):
        rows = slice(clip * num_frames, (clip + 1) * num_frames)
        query_of_slot = _accepted_queries(frames, target, matches[rows],
                                          rows.start, score_thr, iou_thr)
        slots = (query_of_slot >= 0).any(1).nonzero().flatten()
        positives.append((clip, query_of_slot[slots], slots))
        background = _background_queries(frames, matches[rows], rows.start,
                                         num_background)
        backgrounds.append((clip, background))

    num_classes = frames.cls_logits.shape[-1]
    queries = torch.cat([q for _, q, _ in positives] +
                        [q for _, q in backgrounds])
    labels = torch.cat(
        [targets[clip].labels[slots] for clip, _, slots in positives] +
        [q.new_full((len(q), ), num_classes) for _, q in backgrounds])
    clip_inds = torch.cat([
        q.new_full((len(q), ), clip)
        for clip, q in [(c, q) for c, q, _ in positives] + backgrounds
    ])
    frame_inds = torch.stack([target.frame_inds for target in targets])
    frame_inds = frame_inds[clip_inds]
    embeds = _gather(frames.embeds, queries, clip_inds)
    boxes = _gather(frames.boxes.detach(), queries, clip_inds)
    return TrackletBatch(
        embeds=embeds,
        boxes=interpolate_boxes(boxes, queries >= 0, frame_inds),
        frame_inds=frame_inds,
        clip_inds=clip_inds,
        labels=labels,
        present=torch.cat(
            [targets[clip].valid[:, slots].T for clip, _, slots in positives]),
        masks=torch.cat([
            targets[clip].masks[:, slots].transpose(0, 1)
            for clip, _, slots in positives
        ]))


def _accepted_queries(frames: FrameOutput, target: ClipTargets,
                      matches: List[QueryMatch], first_row: int,
                      score_thr: float, iou_thr: float) -> Tensor:
    """Query of each slot and frame or -1, has shape (S, T)."""
    accepted = target.labels.new_full((target.num_slots, len(matches)), -1)
    for t, match in enumerate(matches):
        row = first_row + t
        gt = target.frame(t)
        matched = match.best_query >= 0
        queries, slots = match.best_query[matched], gt.slots[matched]
        scores = frames.cls_logits[row, queries].detach().sigmoid()
        scores = scores.gather(1, target.labels[slots][:, None])[:, 0]
        ious = bbox_overlaps(
            bbox_cxcywh_to_xyxy(frames.boxes[row, queries].detach()),
            bbox_cxcywh_to_xyxy(gt.boxes[matched]),
            is_aligned=True)
        good = (scores >= score_thr) & (ious >= iou_thr)
        accepted[slots[good], t] = queries[good]
    return accepted


@torch.no_grad()
def _background_queries(frames: FrameOutput, matches: List[QueryMatch],
                        first_row: int, num_background: int) -> Tensor:
    """Unmatched queries strung together, -1 for none, has shape (n, T)."""
    unmatched = (matches[0].gt_inds < 0).nonzero().flatten()
    scores = frames.cls_logits[first_row, unmatched].max(-1).values
    count = min(num_background, len(scores))
    key = unmatched[scores.topk(count).indices]
    columns = [key]
    for t in range(1, len(matches)):
        similarity = bisoftmax_similarity(frames.assoc_embeds[first_row, key],
                                          frames.assoc_embeds[first_row + t])
        best = similarity.argmax(1)
        columns.append(torch.where(matches[t].gt_inds[best] < 0, best, -1))
    return torch.stack(columns, 1)


def _gather(values: Tensor, queries: Tensor, clip_inds: Tensor) -> Tensor:
    """Values of the queries of tracklets, zero where the query is -1.

    Args:
        values (Tensor): Has shape (bs * T, Q, n).
        queries (Tensor): Has shape (N, T).
        clip_inds (Tensor): Has shape (N, ).

    Returns:
        Tensor: Has shape (N, T, n).
    """
    num_frames = queries.shape[1]
    rows = clip_inds[:, None] * num_frames + torch.arange(
        num_frames, device=queries.device)
    found = values[rows, queries.clamp(min=0)]
    return found * (queries >= 0)[..., None]
