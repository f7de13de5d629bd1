# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tracklets for training TAR, from ground-truth matching."""
from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from mmdet.utils import ConfigType
from torch import Tensor

from refinevis_mm.registry import MODELS, TASK_UTILS
from refinevis_mm.structures import (ClipTargets, FrameOutput, QueryMatch,
                                     TrackletBatch, interpolate_boxes)
from ..association.frame_tracking import track_frame
from ..association.similarity import bisoftmax_similarity
from ..frame_level.frame_model import FrameModel


@TASK_UTILS.register_module()
class MatchedTrackletBuilder:
    """Positive tracklets of the instances, and background tracklets.

    A positive tracklet strings together the best queries of one instance.
    A match counts only above relaxed thresholds (paper Sec. 4.1: "a lower
    threshold of IoU and prediction confidence"), otherwise the frame holds
    the zero embedding; instances without any accepted match are left out. A
    background tracklet joins a confident unmatched query of the first frame
    to the most similar query of every later frame, where it is unmatched too.

    Args:
        score_thr (float): Least score of the true class. Defaults to 0.05.
        iou_thr (float): Least box IoU with the ground truth. Defaults to
            0.3.
        num_background (int): Background tracklets per clip at most. Defaults
            to 20.
    """

    def __init__(self,
                 score_thr: float = 0.05,
                 iou_thr: float = 0.3,
                 num_background: int = 20) -> None:
        self.score_thr = score_thr
        self.iou_thr = iou_thr
        self.num_background = num_background

    def __call__(self, frames: FrameOutput, targets: List[ClipTargets],
                 matches: List[QueryMatch],
                 frame_model: FrameModel) -> TrackletBatch:
        """Build the tracklets of a batch.

        Args:
            frames (:obj:`FrameOutput`): Output for bs * T frames with
                association embeddings.
            targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips.
            matches (list[:obj:`QueryMatch`]): Matched queries of the bs * T
                frames.
            frame_model (:obj:`FrameModel`): Not needed here.

        Returns:
            :obj:`TrackletBatch`: Tracklets, those of the objects first.
        """
        num_frames = len(targets[0].frame_inds)
        positives, backgrounds = [], []
        for clip, target in enumerate(targets):
            rows = slice(clip * num_frames, (clip + 1) * num_frames)
            query_of_slot = _accepted_queries(frames, target, matches[rows],
                                              rows.start, self.score_thr,
                                              self.iou_thr)
            slots = (query_of_slot >= 0).any(1).nonzero().flatten()
            positives.append((query_of_slot[slots], slots))
            backgrounds.append(
                _background_queries(frames, matches[rows], rows.start,
                                    self.num_background))
        return gather_tracklets(frames, targets, positives, backgrounds)


@TASK_UTILS.register_module()
class TrackedTrackletBuilder:
    """Tracklets that a real tracker makes of the frames of a clip.

    The second reading of paper Sec. 4.1: the tracker of inference runs over
    the T frames with lower thresholds, so that tracklets have the faults of
    inference. A tracklet follows the object with the best spatio-temporal
    mask IoU, and none if that is too low.

    Args:
        tracker (dict): :class:`ContrastiveTracker` with relaxed thresholds.
        iou_thr (float): Least spatio-temporal mask IoU over the frames in
            which the tracklet was detected. Defaults to 0.3.
    """

    def __init__(self, tracker: ConfigType, iou_thr: float = 0.3) -> None:
        self.tracker = MODELS.build(tracker)
        self.iou_thr = iou_thr

    def __call__(self, frames: FrameOutput, targets: List[ClipTargets],
                 matches: List[QueryMatch],
                 frame_model: FrameModel) -> TrackletBatch:
        """Build the tracklets of a batch.

        Args:
            frames (:obj:`FrameOutput`): Output for bs * T frames with
                association embeddings.
            targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips.
            matches (list[:obj:`QueryMatch`]): Not needed here.
            frame_model (:obj:`FrameModel`): Gives the masks.

        Returns:
            :obj:`TrackletBatch`: Tracklets, those of the objects first.
        """
        num_frames = len(targets[0].frame_inds)
        positives, backgrounds = [], []
        for clip, target in enumerate(targets):
            rows = torch.arange(num_frames) + clip * num_frames
            queries, masks = self._track(
                frames.select_frames(rows), target, frame_model)
            ious = _tube_ious(masks, target.masks, queries >= 0)
            # one more column: no object
            best, slots = F.pad(ious, (0, 1)).max(1)
            follows = best >= self.iou_thr
            positives.append((queries[follows], slots[follows]))
            backgrounds.append(queries[~follows])
        return gather_tracklets(frames, targets, positives, backgrounds)

    @torch.no_grad()
    def _track(self, frames: FrameOutput, target: ClipTargets,
               frame_model: FrameModel) -> Tuple[Tensor, Tensor]:
        """Track the frames of one clip in their order of time.

        Returns:
            tuple[Tensor]: Queries of the n tracklets, -1 where not detected,
            has shape (n, T), and their masks, has shape (n, T, h, w).
        """
        num_frames = len(frames.embeds)
        queries: Dict[int, Tensor] = {}
        masks: Dict[int, Tensor] = {}
        self.tracker.reset()
        for t in target.frame_inds.argsort().tolist():
            tracked = track_frame(self.tracker,
                                  frames.select_frames(torch.tensor([t])),
                                  frame_model, int(target.frame_inds[t]))
            for i, track_id in enumerate(tracked.instances_id.tolist()):
                if track_id not in queries:
                    queries[track_id] = tracked.query_inds.new_full(
                        (num_frames, ), -1)
                    masks[track_id] = tracked.masks.new_zeros(
                        num_frames, *tracked.masks.shape[1:])
                queries[track_id][t] = tracked.query_inds[i]
                masks[track_id][t] = tracked.masks[i]
        if not queries:
            empty = target.ids.new_zeros(0, num_frames)
            return empty, target.masks.new_zeros(0, num_frames,
                                                 *target.masks.shape[-2:])
        return (torch.stack(list(queries.values())),
                torch.stack(list(masks.values())))


def _tube_ious(masks: Tensor, gt_masks: Tensor, seen: Tensor) -> Tensor:
    """Spatio-temporal mask IoU over the frames of each tracklet.

    Args:
        masks (Tensor): Bool, has shape (n, T, h, w).
        gt_masks (Tensor): Bool, has shape (T, S, H, W).
        seen (Tensor): Bool, frames that count, has shape (n, T).

    Returns:
        Tensor: Has shape (n, S).
    """
    small = F.interpolate(
        gt_masks.flatten(0, 1)[:, None].float(), size=masks.shape[-2:])
    gt_masks = small.flatten(1).unflatten(0, gt_masks.shape[:2])
    masks = masks.float().flatten(2)
    overlap = torch.einsum('ntp,tsp->nts', masks, gt_masks)
    union = masks.sum(-1)[..., None] + gt_masks.sum(-1)[None] - overlap
    seen = seen[..., None].to(overlap)
    return (overlap * seen).sum(1) / (union * seen).sum(1).clamp(min=1)


def gather_tracklets(frames: FrameOutput, targets: List[ClipTargets],
                     positives: List[Tuple[Tensor, Tensor]],
                     backgrounds: List[Tensor]) -> TrackletBatch:
    """Embeddings and targets of tracklets that are given as query indices.

    Args:
        frames (:obj:`FrameOutput`): Output for bs * T frames.
        targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips.
        positives (list[tuple[Tensor]]): For each clip the queries (n, T), -1
            for none, and the slots (n, ) of the objects they follow.
        backgrounds (list[Tensor]): For each clip queries (n, T), -1 for
            none, that follow no object.

    Returns:
        :obj:`TrackletBatch`: Tracklets, those of the objects first.
    """
    num_classes = frames.cls_logits.shape[-1]
    clips = torch.arange(len(targets), device=frames.embeds.device)
    counts = clips.new_tensor([len(slots) for _, slots in positives] +
                              [len(queries) for queries in backgrounds])
    clip_inds = clips.repeat(2).repeat_interleave(counts)
    queries = torch.cat([queries for queries, _ in positives] + backgrounds)
    num_positives = counts[:len(targets)].sum()
    labels = clips.new_full((len(queries), ), num_classes)
    present = queries.new_zeros(queries.shape, dtype=torch.bool)
    masks = []
    start = 0
    for target, (_, slots) in zip(targets, positives):
        rows = slice(start, start + len(slots))
        labels[rows] = target.labels[slots]
        present[rows] = target.valid[:, slots].T
        masks.append(target.masks[:, slots].transpose(0, 1))
        start = rows.stop
    frame_inds = torch.stack([target.frame_inds for target in targets])
    frame_inds = frame_inds[clip_inds]
    boxes = _gather(frames.mask_boxes.detach(), queries, clip_inds)
    return TrackletBatch(
        embeds=_gather(frames.embeds, queries, clip_inds),
        boxes=interpolate_boxes(boxes, queries >= 0, frame_inds),
        frame_inds=frame_inds,
        clip_inds=clip_inds,
        labels=labels,
        present=present,
        masks=torch.cat(masks),
        mask_inds=torch.arange(num_positives, device=clips.device))


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
    unmatched = matches[0].background.nonzero().flatten()
    scores = frames.cls_logits[first_row, unmatched].max(-1).values
    count = min(num_background, len(scores))
    key = unmatched[scores.topk(count).indices]
    columns = [key]
    for t in range(1, len(matches)):
        similarity = bisoftmax_similarity(frames.assoc_embeds[first_row, key],
                                          frames.assoc_embeds[first_row + t])
        best = similarity.argmax(1)
        columns.append(torch.where(matches[t].background[best], best, -1))
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
