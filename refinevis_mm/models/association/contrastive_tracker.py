# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Online tracker by contrastive embeddings, the association of RefineVIS.

Shapes: Q queries, M detections of a frame, N live tracks, E embedding dims,
L length of a track's embedding window.
"""
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ...registry import MODELS
from ..layers.nms import classwise_nms, greedy_nms
from .detections import (check_counts, check_finite, check_keys, check_order,
                         check_shares)
from .embedding_memory import EmbeddingMemory
from .similarity import bisoftmax_similarity, mask_iou
from .track_table import TrackTable

# codes of `last_assignment` for detections that got no id
BACKDROP = -1  # unmatched, apart from all better detections
DROPPED = -2  # unmatched, overlaps a better detection
SUPPRESSED = -3  # removed by the mask NMS


@MODELS.register_module()
class ContrastiveTracker:
    """Gives detections identities by their contrastive embeddings.

    The online association of `IDOL <https://arxiv.org/abs/2207.10661>`_,
    which RefineVIS uses unchanged (Sec. 3.3). Defaults are IDOL's for
    YouTube-VIS 2019 and 2021; the configs for OVIS have those for OVIS.
    Classes never influence the identities. Detections match in the order of
    their scores, so the result is deterministic.

    Note:
        Bi-softmax compares tracks with each other, not with an absolute
        level: with one track in memory, the best-scored detection takes it
        whatever it looks like. This is IDOL's behaviour.

    One frame in numbered steps, each with its arguments:

    1. :meth:`select`: queries above ``select_score_thr``, or the single
       best; class-wise box NMS, ``box_nms_thr``.
    2. :meth:`track`: mask NMS regardless of class, ``mask_nms_thr``.
    3. Memory empty: detections above ``init_score_thr`` start tracks.
       Otherwise greedy matching, ``match_score_thr``, ties between similar
       tracks settled by their age, ``frame_weight``; unmatched detections
       above ``new_score_thr`` start tracks.
    4. Remaining detections overlapping no better one are backdrops,
       ``backdrop_iou_thr``; nothing without an identity is returned.
    5. Matched tracks update their memory (``memory_type``, ``memory_len``,
       ``recency_weight``, ``memory_momentum``); tracks not seen for
       ``num_frames_retain`` frames are forgotten.
    6. Short tracks are judged noise: ``noise_start_frame``,
       ``noise_missed_frames``, ``min_track_frames``.

    Args:
        select_score_thr (float): Queries whose best class probability is
            above this are detections. Defaults to 0.1.
        box_nms_thr (float): Of two detections of one class with a box IoU
            above this the lower-scored is removed. Defaults to 0.9.
        mask_nms_thr (float): Of two detections with a mask IoU above this
            the lower-scored is removed. Defaults to 0.5 (OVIS: 0.3).
        init_score_thr (float): Score a detection must exceed to start a
            track when the memory is empty. Defaults to 0.2.
        new_score_thr (float): Score an unmatched detection must exceed to
            start a track otherwise. Defaults to 0.2 (OVIS: 0.3).
        match_score_thr (float): Similarity, after ``frame_weight``, a
            detection must exceed to continue a track. No score threshold
            applies to it. Defaults to 0.5.
        frame_weight (bool): Whether, for a detection similar to two or more
            tracks, similarities are multiplied by the number of frames of
            the track (by the mean of these numbers for the other tracks), so
            that the older track wins. Defaults to True.
        frame_weight_thr (float): Similarity above which a track counts as
            similar in ``frame_weight``. Defaults to 0.5.
        backdrop_iou_thr (float): An unmatched detection whose mask IoU with
            all better detections is below this is a backdrop, not a
            duplicate. It shows in ``last_assignment`` only. Defaults to
            0.05.
        memory_type (str): What a track is compared by. 'window': mean of its
            last embeddings weighted by score and recency. 'momentum': moving
            average with a fixed rate. 'similarity': moving average whose
            rate is the mean cosine of the new embedding to the window, at
            least 0, the similarity-guided fusion of `CTVIS
            <https://arxiv.org/abs/2307.12616>`_. Defaults to 'window'.
        memory_len (int): Embeddings kept per track, in frames seen. Defaults
            to 3.
        recency_weight (bool): Whether 'window' adds j / n to the score weight
            of the j-th of n embeddings, so that the newest gets 1. Defaults
            to True.
        memory_momentum (float): Weight of the new embedding for 'momentum',
            in (0, 1]. Defaults to 0.8.
        num_frames_retain (int): A track is recovered after this many minus 1
            missed frames and forgotten after this many. Defaults to 10.
        min_track_frames (int): A track seen in fewer frames is noise once it
            is missed; 1 keeps all tracks. Defaults to 3.
        noise_missed_frames (int): Frames in a row, up to the current one, a
            short track must miss to be noise. Defaults to 2.
        noise_start_frame (int): First frame id at which noise is judged.
            Defaults to 9.
        embed_dims (int, optional): Embedding dimensions. Defaults to None,
            i.e. those of the first frame or loaded state.

    Attributes:
        discarded_ids (list[int]): Ids judged noise by the last :meth:`track`,
            whose results so far are to be deleted. Such an id may come back
            while its track is in memory; its frames count anew then.
        last_assignment (Tensor): Long, id or code (``BACKDROP``, ``DROPPED``,
            ``SUPPRESSED``) of every detection of the last :meth:`track`, has
            shape (num_dets, ).

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 select_score_thr: float = 0.1,
                 box_nms_thr: float = 0.9,
                 mask_nms_thr: float = 0.5,
                 init_score_thr: float = 0.2,
                 new_score_thr: float = 0.2,
                 match_score_thr: float = 0.5,
                 frame_weight: bool = True,
                 frame_weight_thr: float = 0.5,
                 backdrop_iou_thr: float = 0.05,
                 memory_type: str = 'window',
                 memory_len: int = 3,
                 recency_weight: bool = True,
                 memory_momentum: float = 0.8,
                 num_frames_retain: int = 10,
                 min_track_frames: int = 3,
                 noise_missed_frames: int = 2,
                 noise_start_frame: int = 9,
                 embed_dims: Optional[int] = None) -> None:
        check_shares(
            select_score_thr=select_score_thr,
            box_nms_thr=box_nms_thr,
            mask_nms_thr=mask_nms_thr,
            init_score_thr=init_score_thr,
            new_score_thr=new_score_thr,
            match_score_thr=match_score_thr,
            frame_weight_thr=frame_weight_thr,
            backdrop_iou_thr=backdrop_iou_thr)
        check_counts(
            num_frames_retain=num_frames_retain,
            min_track_frames=min_track_frames,
            noise_missed_frames=noise_missed_frames)
        self.memory = EmbeddingMemory(memory_type, memory_len, recency_weight,
                                      memory_momentum)
        self.select_score_thr = select_score_thr
        self.box_nms_thr = box_nms_thr
        self.mask_nms_thr = mask_nms_thr
        self.init_score_thr = init_score_thr
        self.new_score_thr = new_score_thr
        self.match_score_thr = match_score_thr
        self.frame_weight = frame_weight
        self.frame_weight_thr = frame_weight_thr
        self.backdrop_iou_thr = backdrop_iou_thr
        self.num_frames_retain = num_frames_retain
        self.min_track_frames = min_track_frames
        self.noise_missed_frames = noise_missed_frames
        self.noise_start_frame = noise_start_frame
        self.embed_dims = embed_dims
        self.reset()

    @property
    def live_ids(self) -> List[int]:
        """list[int]: Ids of the tracks in memory, oldest birth first."""
        return self._table.ids.tolist()

    @property
    def memory_embeds(self) -> Tensor:
        """Tensor: Embeddings the next frame is compared with, in the order of
        ``live_ids``, has shape (num_tracks, embed_dims)."""
        return self._table.values['memory'].clone()

    def reset(self) -> None:
        """Forget everything but ``embed_dims``: start of a new video."""
        self._last_frame_id = -1
        self._next_id = 0
        self._mask_size: Optional[Tuple[int, int]] = None
        self._table = self._empty_table()
        self.discarded_ids: List[int] = []
        self.last_assignment = torch.zeros(0, dtype=torch.long)

    def _empty_table(self) -> TrackTable:
        """No tracks, with room for what is remembered of their embeddings."""
        return TrackTable(self.memory.shapes(self.embed_dims or 0))

    @torch.no_grad()
    def select(self, cls_scores: Tensor, boxes: Tensor) -> Tensor:
        """Choose the queries of a frame that are detections.

        Args:
            cls_scores (Tensor): Class probabilities in [0, 1], has shape
                (num_queries, num_classes).
            boxes (Tensor): Normalised (cx, cy, w, h), has shape
                (num_queries, 4).

        Returns:
            Tensor: Long query indices by descending score, has shape
            (num_dets, ); at least one unless there are no queries.

        Raises:
            ValueError: If shapes do not fit, or a tensor is not finite.
        """
        if cls_scores.dim() != 2 or boxes.shape != (len(cls_scores), 4):
            raise ValueError(
                'cls_scores must be (num_queries, num_classes) and boxes '
                f'(num_queries, 4), got {tuple(cls_scores.shape)} and '
                f'{tuple(boxes.shape)}')
        check_finite(cls_scores=cls_scores, boxes=boxes)
        if len(cls_scores) == 0:
            return boxes.new_zeros(0, dtype=torch.long)
        scores, labels = cls_scores.max(dim=1)
        scores, order = scores.sort(descending=True, stable=True)
        num_selected = max(int((scores > self.select_score_thr).sum()), 1)
        order = order[:num_selected]
        keep = classwise_nms(boxes[order], labels[order], self.box_nms_thr)
        return order[keep]

    @torch.no_grad()
    def track(self, detections: InstanceData, frame_id: int) -> InstanceData:
        """Associate the detections of the next frame with the tracks.

        A frame without detections ages the tracks like any other.

        Args:
            detections (InstanceData): Detections by descending score, as
                :meth:`select` orders them. Read fields:

                - scores (Tensor): In [0, 1], has shape (num_dets, ).
                - masks (Tensor): Bool, one size (h, w) in all frames, has
                  shape (num_dets, h, w).
                - assoc_embeds (Tensor): Association embeddings, not
                  normalised, has shape (num_dets, embed_dims).
            frame_id (int): Position of the frame in the video, in frames;
                larger than that of the last call.

        Returns:
            InstanceData: The rows that got an identity, still by descending
            score, with all their fields and ``instances_id`` (long, ids count
            from 0 in order of birth), has length (num_tracked, ).

        Raises:
            ValueError: If a field is missing, has a wrong shape or is not
                finite, scores are not sorted, the mask size or embedding
                size changes in the video, or ``frame_id`` does not grow.
        """
        scores, masks, embeds = self._check_detections(detections, frame_id)
        if self.embed_dims is None:
            self.embed_dims = embeds.size(1)
            self._table = self._empty_table()
        table = self._table
        table.to(embeds.device)
        self._last_frame_id = frame_id
        self._mask_size = tuple(masks.shape[1:])
        # only frame ids with gaps leave tracks for this to forget
        self._forget(frame_id, self.num_frames_retain + 1)

        ids = self._assign(scores.cpu().numpy(), masks, embeds)
        self._update(ids, scores, embeds, frame_id)
        self._forget(frame_id, self.num_frames_retain)
        self.discarded_ids = []
        if frame_id >= self.noise_start_frame:
            self.discarded_ids = table.judge_noise(frame_id,
                                                   self.noise_missed_frames,
                                                   self.min_track_frames)

        self.last_assignment = ids
        tracked = ids >= 0
        results = detections[tracked.nonzero()[:, 0].to(scores.device)]
        results.instances_id = ids[tracked].to(scores.device)
        return results

    def _check_detections(self, detections: InstanceData,
                          frame_id: int) -> Tuple[Tensor, Tensor, Tensor]:
        """Validate a frame; returns scores, masks and float embeddings."""
        check_order(frame_id, self._last_frame_id)
        for name in ('scores', 'masks', 'assoc_embeds'):
            if name not in detections:
                raise ValueError('detections must have the fields scores, '
                                 f'masks and assoc_embeds, got no {name}')
        scores = detections.scores.float()
        masks, embeds = detections.masks, detections.assoc_embeds.float()
        if scores.dim() != 1 or masks.dim() != 3 or embeds.dim() != 2:
            raise ValueError(
                'scores, masks and assoc_embeds must be 1-D, 3-D and 2-D, got '
                f'{scores.dim()}-D, {masks.dim()}-D and {embeds.dim()}-D')
        if masks.dtype != torch.bool:
            raise ValueError(f'masks must be bool, got {masks.dtype}')
        mask_size = tuple(masks.shape[1:])
        if self._mask_size is not None and mask_size != self._mask_size:
            raise ValueError(
                'masks must keep the size (h, w) of the video, got '
                f'{mask_size} at frame {frame_id} after {self._mask_size}')
        if self.embed_dims is not None and embeds.size(1) != self.embed_dims:
            raise ValueError(f'assoc_embeds must have {self.embed_dims} '
                             f'dimensions, got {embeds.size(1)}')
        check_finite(scores=scores, assoc_embeds=embeds)
        if (scores.diff() > 0).any():
            raise ValueError('detections must be sorted by descending score, '
                             f'got {scores.tolist()}')
        return scores, masks, embeds

    def _assign(self, scores: np.ndarray, masks: Tensor,
                embeds: Tensor) -> Tensor:
        """Identity or code of every detection, births included."""
        ids = np.full(len(scores), SUPPRESSED, dtype=np.int64)
        ious = mask_iou(masks).cpu().numpy()
        kept = greedy_nms(ious, self.mask_nms_thr)
        if len(self._table) == 0:
            kept_ids = np.full(len(kept), DROPPED, dtype=np.int64)
            birth_thr = self.init_score_thr
        else:
            kept_embeds = embeds[torch.from_numpy(kept).to(embeds.device)]
            kept_ids = self._match(kept_embeds)
            birth_thr = self.new_score_thr
        born = (kept_ids == DROPPED) & (scores[kept] > birth_thr)
        kept_ids[born] = self._next_id + np.arange(born.sum())
        self._next_id += int(born.sum())

        better_ious = np.tril(ious[np.ix_(kept, kept)], k=-1)
        apart = (better_ious < self.backdrop_iou_thr) | (
            np.triu(np.ones_like(better_ious)) > 0)
        kept_ids[(kept_ids == DROPPED) & apart.all(axis=1)] = BACKDROP
        ids[kept] = kept_ids
        return torch.from_numpy(ids)

    def _match(self, embeds: Tensor) -> np.ndarray:
        """Greedy matching by score; track id or ``DROPPED`` per detection."""
        table = self._table
        similarity = bisoftmax_similarity(embeds, table.values['memory'])
        similarity = similarity.cpu().numpy()
        track_ids, num_seen = table.ids.numpy(), table.num_seen.numpy()
        ids = np.full(len(similarity), DROPPED, dtype=np.int64)
        for i, sims in enumerate(similarity):
            similar = sims > self.frame_weight_thr
            if self.frame_weight and similar.sum() > 1:
                mean_seen = num_seen[similar].mean()
                weights = np.where(similar, num_seen, mean_seen)
                sims = sims * weights.astype(sims.dtype)
            best = sims.argmax()
            if sims[best] > self.match_score_thr:
                ids[i] = track_ids[best]
                similarity[i + 1:, best] = 0  # taken
        return ids

    def _update(self, ids: Tensor, scores: Tensor, embeds: Tensor,
                frame_id: int) -> None:
        """Append this frame to the memory of its tracks, births included."""
        tracked = (ids >= 0).nonzero()[:, 0]
        if len(tracked) == 0:
            return
        rows = self._table.see(ids[tracked], frame_id)
        tracked = tracked.to(embeds.device)
        self.memory.remember(self._table, rows, scores[tracked],
                             embeds[tracked])

    def _forget(self, frame_id: int, num_missed: int) -> None:
        """Drop tracks not seen for ``num_missed`` frames."""
        self._table.forget(frame_id, num_missed, self.min_track_frames)

    def state_dict(self) -> Dict[str, Any]:
        """State between two frames, bounded by the live tracks.

        Returns:
            dict: Tensors, numbers, lists and strings only, independent of the
            tracker; fit for ``torch.save`` and ``weights_only`` loading.
        """
        return dict(
            memory_type=self.memory.memory_type,
            memory_len=self.memory.memory_len,
            embed_dims=self.embed_dims,
            last_frame_id=self._last_frame_id,
            next_id=self._next_id,
            mask_size=None
            if self._mask_size is None else list(self._mask_size),
            forgotten=[list(item) for item in self._table.forgotten],
            tracks=self._table.state_dict())

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from the state of a tracker with the same memory.

        Args:
            state (dict): What :meth:`state_dict` returned.

        Raises:
            ValueError: If keys are missing or unknown, or the memory type,
                memory length or embedding size differ. The tracker is
                unchanged then.
        """
        own = self.state_dict()
        check_keys(state, own)
        for name in ('memory_type', 'memory_len', 'embed_dims'):
            if own[name] != state[name] and not (name == 'embed_dims' and None
                                                 in (own[name], state[name])):
                raise ValueError(f'tracker state must have {name} '
                                 f'{own[name]!r}, got {state[name]!r}')
        table = TrackTable(self.memory.shapes(state['embed_dims'] or 0))
        table.load_state_dict(state['tracks'])
        table.forgotten = [list(item) for item in state['forgotten']]
        self.embed_dims = state['embed_dims'] or self.embed_dims
        self.reset()
        self._last_frame_id = state['last_frame_id']
        self._next_id = state['next_id']
        if state['mask_size'] is not None:
            self._mask_size = tuple(state['mask_size'])
        if state['embed_dims'] is not None:  # else there are no tracks yet
            self._table = table
