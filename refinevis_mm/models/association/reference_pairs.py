# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Positive and negative pairs for the association loss, Eq. (3)."""
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import TASK_UTILS
from refinevis_mm.structures import ClipTargets, FrameOutput, QueryMatch
from ..frame_level.matching import normalised_meta
from .ota_assigner import OTAAssigner, match_dynamic_k


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


class PairSelector(ABC):
    """Pairs matched key queries with all queries of the other frames.

    An anchor is the best key query of an instance that is visible in the
    reference frame too; with several reference frames it is an anchor in
    each. Subclasses say which reference queries are positive and negative.
    """

    @torch.no_grad()
    def __call__(self, frames: FrameOutput, targets: List[ClipTargets],
                 matches: List[QueryMatch]) -> ReferencePairs:
        """Select the pairs of a batch.

        Args:
            frames (:obj:`FrameOutput`): Output for bs * T frames.
            targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips;
                frame 0 is the key frame.
            matches (list[:obj:`QueryMatch`]): For each of the bs * T frames.

        Returns:
            :obj:`ReferencePairs`: Pairs of all clips; pairs across clips are
            neither positive nor negative.

        Raises:
            ValueError: If the clips have no reference frame.
        """
        num_frames = len(targets[0].frame_inds)
        if num_frames < 2:
            raise ValueError('clips must have a key frame and at least one '
                             f'reference frame, got {num_frames} frame')
        key_rows, ref_rows, positives, negatives = [], [], [], []
        shares = [None] * len(frames.boxes)
        if frames.picture_shares is not None:
            shares = frames.picture_shares.tolist()
        for clip, target in enumerate(targets):
            key_row = clip * num_frames
            key_query = target.valid.new_full((target.num_slots, ),
                                              -1,
                                              dtype=torch.long)
            key_query[target.frame(0).slots] = matches[key_row].best_query
            for t in range(1, num_frames):
                row = key_row + t
                slots = ((key_query >= 0) & target.valid[t]).nonzero()[:, 0]
                positive, negative = self._label_queries(
                    frames.cls_logits[row], frames.boxes[row], matches[row],
                    target, t, slots, shares[row])
                key_rows.append(_rows(key_row, key_query[slots]))
                ref_rows.append(
                    _rows(row,
                          torch.arange(positive.shape[1],
                                       device=slots.device)))
                positives.append(positive)
                negatives.append(negative)
        return ReferencePairs(
            torch.cat(key_rows), torch.cat(ref_rows),
            torch.block_diag(*positives).bool(),
            torch.block_diag(*negatives).bool())

    @abstractmethod
    def _label_queries(
            self, cls_logits: Tensor, boxes: Tensor, match: QueryMatch,
            target: ClipTargets, t: int, slots: Tensor,
            shares: Optional[Sequence[float]]) -> Tuple[Tensor, Tensor]:
        """Positives and negatives of some slots in reference frame ``t``.

        Args:
            cls_logits (Tensor): Of the reference frame, has shape (Q, K).
            boxes (Tensor): Normalised (cx, cy, w, h), has shape (Q, 4).
            match (:obj:`QueryMatch`): Match of the reference frame.
            target (:obj:`ClipTargets`): Ground truth of the clip.
            t (int): Reference frame.
            slots (Tensor): Slots of the anchors, all valid in ``t``, has
                shape (A, ).
            shares (Sequence[float], optional): ``picture_shares`` of the
                reference frame.

        Returns:
            tuple[Tensor]: Bool, disjoint, each has shape (A, Q).
        """


@TASK_UTILS.register_module()
class IoUPairSelector(PairSelector):
    """Pairs by the reference frame's matching and by bands of box IoU.

    Reference queries are positive when matched to the instance, or unmatched
    with box IoU of at least ``pos_iou_thr`` to it and to no other instance
    more; negative when matched to another instance, or unmatched with IoU
    below ``neg_iou_thr``; ignored otherwise. The bands keep near-duplicates
    out of the negatives.

    Args:
        pos_iou_thr (float): Least IoU of an unmatched positive.
        neg_iou_thr (float): IoU below which an unmatched query is negative.

    Raises:
        ValueError: Unless 0 <= ``neg_iou_thr`` <= ``pos_iou_thr`` <= 1.
    """

    def __init__(self, pos_iou_thr: float, neg_iou_thr: float) -> None:
        if not 0 <= neg_iou_thr <= pos_iou_thr <= 1:
            raise ValueError(
                'IoU thresholds must satisfy 0 <= neg_iou_thr <= pos_iou_thr '
                f'<= 1, got {neg_iou_thr} and {pos_iou_thr}')
        self.pos_iou_thr = pos_iou_thr
        self.neg_iou_thr = neg_iou_thr

    def _label_queries(
            self, cls_logits: Tensor, boxes: Tensor, match: QueryMatch,
            target: ClipTargets, t: int, slots: Tensor,
            shares: Optional[Sequence[float]]) -> Tuple[Tensor, Tensor]:
        gt = target.frame(t)
        boxes = bbox_cxcywh_to_xyxy(boxes)
        ious = bbox_overlaps(
            bbox_cxcywh_to_xyxy(target.boxes[t, slots]), boxes)  # (A, Q)
        best_slot = torch.full_like(match.gt_inds, -1)
        if len(gt) > 0:
            best_slot = gt.slots[bbox_overlaps(
                bbox_cxcywh_to_xyxy(gt.boxes), boxes).argmax(0)]
        is_matched = match.gt_inds >= 0
        matched_slot = torch.full_like(match.gt_inds, -1)
        matched_slot[is_matched] = gt.slots[match.gt_inds[is_matched]]
        same = matched_slot == slots[:, None]
        other = is_matched & ~same
        nearest = best_slot == slots[:, None]
        positive = same | (~is_matched & nearest & (ious >= self.pos_iou_thr))
        negative = other | (~is_matched & (ious < self.neg_iou_thr))
        return positive, negative


@TASK_UTILS.register_module()
class OTAPairSelector(PairSelector):
    """Pairs by optimal transport on the reference frame, as IDOL.

    Positive are the queries that OTA with few candidates gives to the
    instance, negative those that OTA with many candidates does not give to
    it. Queries in between fit the instance, but not well, and are ignored.
    Predictions of the last layer are matched, whatever the assigner of the
    frame losses.

    NOTE: With many candidates a positive may go to another, crowding
    instance. IDOL then counts it on both sides; here it is positive only.
    Instances that are not visible in the key frame are no anchors, but keep
    their queries from the anchors; IDOL's loading drops them.

    Args:
        num_pos_candidates (int): ``num_candidates`` of
            :class:`OTAAssigner` for the positives. Defaults to 10, as IDOL.
        num_neg_candidates (int): The same for the queries that are not
            negative. Defaults to 100, as IDOL.

    Raises:
        ValueError: Unless 1 <= ``num_pos_candidates`` <=
            ``num_neg_candidates``.
    """

    def __init__(self,
                 num_pos_candidates: int = 10,
                 num_neg_candidates: int = 100) -> None:
        if not 1 <= num_pos_candidates <= num_neg_candidates:
            raise ValueError(
                'candidates must satisfy 1 <= num_pos_candidates <= '
                f'num_neg_candidates, got {num_pos_candidates} and '
                f'{num_neg_candidates}')
        self.num_pos_candidates = num_pos_candidates
        self.num_neg_candidates = num_neg_candidates
        self.assigner = OTAAssigner()

    def _label_queries(
            self, cls_logits: Tensor, boxes: Tensor, match: QueryMatch,
            target: ClipTargets, t: int, slots: Tensor,
            shares: Optional[Sequence[float]]) -> Tuple[Tensor, Tensor]:
        gt = target.frame(t)
        cost, ious = self.assigner.compute_costs(
            InstanceData(
                scores=cls_logits.float(),
                bboxes=bbox_cxcywh_to_xyxy(boxes.float())),
            InstanceData(
                labels=gt.labels, bboxes=bbox_cxcywh_to_xyxy(gt.boxes)),
            normalised_meta(shares))
        gt_of_anchor = torch.searchsorted(gt.slots, slots)[:, None]  # (A, 1)
        few, _ = match_dynamic_k(cost, ious, self.num_pos_candidates)
        many, _ = match_dynamic_k(cost, ious, self.num_neg_candidates)
        positive = few == gt_of_anchor
        negative = (many != gt_of_anchor) & ~positive
        return positive, negative


def _rows(row: int, queries: Tensor) -> Tensor:
    """Stack a constant frame row with query indices, (n, 2)."""
    return torch.stack([torch.full_like(queries, row), queries], -1)
