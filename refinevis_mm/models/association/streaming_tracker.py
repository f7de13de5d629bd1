# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Online tracker that needs no trained association head.

Shapes: M detections of a frame, N tracks, E embedding dims, K classes, P grid
cells of a pooled mask.
"""
from numbers import Real
from typing import Any, Dict, Optional, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...registry import MODELS
from ..layers.nms import greedy_nms
from .detections import (check_counts, check_finite, check_keys, check_order,
                         check_shares)
from .similarity import box_closeness, pool_masks, soft_mask_iou
from .track_table import TrackTable

# Most cells of the grid masks are compared on, along a side.
MAX_CELLS = 32
# Weight of the newest frame in what a track remembers; these and MAX_COAST
# were set by hand, not searched.
EMBED_RATE, CLASS_RATE, VELOCITY_RATE = 0.5, 0.3, 0.5
# Frames over which a missed track is thought to move on.
MAX_COAST = 5
NO_ID = -1


@MODELS.register_module()
class StreamingTracker:
    """Follows the objects of any detector by look, shape, place and class.

    For models whose embeddings were not trained to be compared, or that have
    none. Two-step matching by score as `ByteTrack
    <https://arxiv.org/abs/2110.06864>`_, embeddings compared by their cosine
    as `MinVIS <https://arxiv.org/abs/2208.02245>`_.

    One frame in numbered steps, each with its arguments:

    1. :meth:`select`: at most ``max_detections`` queries above
       ``select_score_thr``.
    2. :meth:`track`: mask NMS regardless of class, ``mask_nms_thr``;
       detections without any pixel are dropped.
    3. Detections above ``high_score_thr`` are assigned to tracks seen in the
       last ``num_active_frames``, the sum of similarities at its best. The
       similarity is the mean, with the weights ``appearance_weight``,
       ``mask_weight``, ``box_weight`` and ``class_weight``, of the cosine of
       embeddings, the IoU of masks, the closeness of the box to the place
       where the track should be by now, and the cosine of class scores;
       without embeddings, of the others. Pairs above ``match_thr`` are made.
    4. The other detections continue tracks that are left, where the IoU of
       masks or the closeness of boxes is above ``low_overlap_thr``. They
       start none.
    5. Tracks missed for longer come back, within ``num_frames_retain``
       frames, where the cosine of embeddings times that of classes is above
       ``reentry_thr``. Without embeddings they do not.
    6. What is left above ``new_score_thr`` starts tracks. A track seen in
       fewer than ``min_track_frames`` frames that is missed for two is
       noise. At most ``max_tracks`` are remembered.

    Args:
        select_score_thr (float): Least class score of a detection. Defaults
            to 0.1.
        max_detections (int): Most detections of a frame. Defaults to 100.
        mask_nms_thr (float): Of two detections with a mask IoU above this
            the lower-scored is removed. Defaults to 0.5.
        high_score_thr (float): Score above which a detection is matched by
            everything that is known of it. Defaults to 0.2.
        appearance_weight (float): Weight of the embeddings. Defaults to 1.
        mask_weight (float): Weight of the mask IoU. Defaults to 0.5.
        box_weight (float): Weight of :func:`box_closeness`. Defaults to 1.
        class_weight (float): Weight of the classes. Defaults to 0.5.
        match_thr (float): Least similarity of a match. Defaults to 0.35.
        low_overlap_thr (float): Least overlap by which a low-scored
            detection continues a track. Defaults to 0.5.
        num_active_frames (int): Frames after which a missed track is matched
            by its embedding and class only. Defaults to 20.
        reentry_thr (float): Least similarity of such a match. Defaults to
            0.6.
        num_frames_retain (int): Missed frames after which a track is
            forgotten. Defaults to 60.
        new_score_thr (float): Score a detection must exceed to start a
            track, besides ``high_score_thr``. Defaults to 0.3.
        min_track_frames (int): A track seen in fewer frames is noise once it
            is missed; 1 keeps all tracks. Defaults to 2.
        max_tracks (int): Most tracks in memory; those unseen for longest go
            first. Defaults to 300.
        embed_dims (int, optional): Embedding dimensions. Defaults to None,
            i.e. those of the first frame.

    Attributes:
        discarded_ids (list[int]): Ids judged noise by the last :meth:`track`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 select_score_thr: float = 0.1,
                 max_detections: int = 100,
                 mask_nms_thr: float = 0.5,
                 high_score_thr: float = 0.2,
                 appearance_weight: float = 1.0,
                 mask_weight: float = 0.5,
                 box_weight: float = 1.0,
                 class_weight: float = 0.5,
                 match_thr: float = 0.35,
                 low_overlap_thr: float = 0.5,
                 num_active_frames: int = 20,
                 reentry_thr: float = 0.6,
                 num_frames_retain: int = 60,
                 new_score_thr: float = 0.3,
                 min_track_frames: int = 2,
                 max_tracks: int = 300,
                 embed_dims: Optional[int] = None) -> None:
        check_shares(
            select_score_thr=select_score_thr,
            mask_nms_thr=mask_nms_thr,
            high_score_thr=high_score_thr,
            match_thr=match_thr,
            low_overlap_thr=low_overlap_thr,
            reentry_thr=reentry_thr,
            new_score_thr=new_score_thr)
        check_counts(
            max_detections=max_detections,
            num_active_frames=num_active_frames,
            num_frames_retain=num_frames_retain,
            min_track_frames=min_track_frames,
            max_tracks=max_tracks)
        weights = dict(
            appearance=appearance_weight,
            mask=mask_weight,
            box=box_weight,
            cls=class_weight)
        if not all(
                isinstance(weight, Real) and 0 <= weight < np.inf for weight in
                weights.values()) or mask_weight + box_weight == 0:
            raise ValueError('weights must not be negative, and mask_weight '
                             'or box_weight be positive, got '
                             f'{tuple(weights.values())}')
        self.weights = weights
        self.select_score_thr = select_score_thr
        self.max_detections = max_detections
        self.mask_nms_thr = mask_nms_thr
        self.high_score_thr = high_score_thr
        self.match_thr = match_thr
        self.low_overlap_thr = low_overlap_thr
        self.num_active_frames = num_active_frames
        self.reentry_thr = reentry_thr
        self.num_frames_retain = num_frames_retain
        self.new_score_thr = new_score_thr
        self.min_track_frames = min_track_frames
        self.max_tracks = max_tracks
        self.embed_dims = embed_dims
        self.reset()

    @property
    def live_ids(self) -> list:
        """list[int]: Ids of the tracks in memory, oldest birth first."""
        return [] if self._table is None else self._table.ids.tolist()

    def reset(self) -> None:
        """Forget everything: start of a new video."""
        self._last_frame_id = -1
        self._next_id = 0
        self._mask_size: Optional[Tuple[int, int]] = None
        self._table: Optional[TrackTable] = None
        self.discarded_ids = []

    @torch.no_grad()
    def select(self, cls_scores: Tensor, boxes: Tensor) -> Tensor:
        """See :meth:`Tracker.select`.

        Raises:
            ValueError: If a tensor is not finite.
        """
        check_finite(cls_scores=cls_scores, boxes=boxes)
        if cls_scores.numel() == 0:
            return boxes.new_zeros(0, dtype=torch.long)
        scores = cls_scores.max(dim=1).values
        scores, order = scores.sort(descending=True, stable=True)
        return order[scores > self.select_score_thr][:self.max_detections]

    @torch.no_grad()
    def track(self, detections: InstanceData, frame_id: int) -> InstanceData:
        """See :meth:`Tracker.track`.

        Raises:
            ValueError: If a field is missing or not finite, sizes change in
                the video, scores are not sorted, or ``frame_id`` does not
                grow.
        """
        check_order(frame_id, self._last_frame_id)
        looks = self._describe(detections)
        table = self._table_for(looks)
        self._last_frame_id = frame_id
        self._mask_size = tuple(detections.masks.shape[1:])
        # only frame ids with gaps leave tracks for this to forget
        table.forget(frame_id, self.num_frames_retain + 1,
                     self.min_track_frames)
        scores = detections.scores.float().cpu().numpy()
        filled = _have_pixels(detections.masks, looks['mask'])
        ids = self._assign(scores, filled, looks, frame_id)
        self._remember(ids, looks, frame_id)
        table.forget(frame_id, self.num_frames_retain, self.min_track_frames)
        table.keep_newest(self.max_tracks, self.min_track_frames)
        self.discarded_ids = table.judge_noise(frame_id, 2,
                                               self.min_track_frames)
        ids = torch.from_numpy(ids).to(detections.scores.device)
        results = detections[ids >= 0]
        results.instances_id = ids[ids >= 0]
        return results

    def _describe(self, detections: InstanceData) -> Dict[str, Tensor]:
        """What is compared and remembered of the detections, float rows."""
        for name in ('scores', 'cls_scores', 'boxes', 'masks'):
            if name not in detections:
                raise ValueError('detections must have the fields scores, '
                                 f'cls_scores, boxes and masks, got no {name}')
        scores, masks = detections.scores, detections.masks
        if masks.dtype != torch.bool or masks.dim() != 3:
            raise ValueError('masks must be bool of shape (M, h, w), got '
                             f'{masks.dtype} {tuple(masks.shape)}')
        if self._mask_size not in (None, tuple(masks.shape[1:])):
            raise ValueError(
                'masks must keep the size (h, w) of the video, got '
                f'{tuple(masks.shape[1:])} after {self._mask_size}')
        if (scores.diff() > 0).any():
            raise ValueError('detections must be sorted by descending score, '
                             f'got {scores.tolist()}')
        embeds = detections.get('assoc_embeds')
        if embeds is None or len(embeds) == 0:
            dims = 0
            if self._table is not None:
                dims = self._table.values['embed'].shape[1]
            embeds = scores.new_zeros(len(scores), dims)
        elif self.embed_dims not in (None, embeds.shape[1]):
            raise ValueError(f'assoc_embeds must have {self.embed_dims} '
                             f'dimensions, got {embeds.shape[1]}')
        looks = dict(
            box=detections.boxes.float(),
            cls=F.normalize(detections.cls_scores.float(), dim=1),
            embed=F.normalize(embeds.float(), dim=1))
        check_finite(scores=scores, **looks)
        looks['mask'] = pool_masks(masks, MAX_CELLS).flatten(1)
        return looks

    def _table_for(self, looks: Dict[str, Tensor]) -> TrackTable:
        """The tracks of the video, with room for what is remembered."""
        shapes = {name: value.shape[1:] for name, value in looks.items()}
        if self._table is None or self._next_id == 0:
            self._table = TrackTable(dict(shapes, velocity=(2, )))
        for name, shape in shapes.items():
            known = self._table.values[name].shape[1:]
            if known != shape:
                raise ValueError(
                    f'{name} values of a video must keep their number, got '
                    f'{tuple(shape)} after {tuple(known)}')
        self._table.to(looks['box'].device)
        return self._table

    def _assign(self, scores: np.ndarray, filled: np.ndarray,
                looks: Dict[str, Tensor], frame_id: int) -> np.ndarray:
        """Identity of every detection, births included, or ``NO_ID``."""
        ids = np.full(len(scores), NO_ID, dtype=np.int64)
        # with each other and with the tracks, in one product
        ious = soft_mask_iou(
            looks['mask'],
            torch.cat([looks['mask'], self._table.values['mask']]))
        overlaps = ious[:, :len(scores)].cpu().numpy()
        kept = np.zeros(len(scores), dtype=bool)
        kept[greedy_nms(overlaps, self.mask_nms_thr)] = True
        kept &= filled
        high = kept & (scores > self.high_score_thr)

        similarity, overlap, reentry = self._compare(looks, ious[:,
                                                                 len(scores):],
                                                     frame_id)
        track_ids = self._table.ids.numpy()
        gap = frame_id - self._table.last_seen.numpy()
        free = gap <= self.num_active_frames
        lost = ~free
        for rows, columns, values, thr in ((high, free, similarity,
                                            self.match_thr),
                                           (kept & ~high, free, overlap,
                                            self.low_overlap_thr),
                                           (high, lost, reentry,
                                            self.reentry_thr)):
            matched = _match(values, rows & (ids < 0), columns, thr)
            ids[matched[:, 0]] = track_ids[matched[:, 1]]
            columns[matched[:, 1]] = False
        born = kept & (ids < 0) & (scores > self.new_score_thr) & high
        ids[born] = self._next_id + np.arange(born.sum())
        self._next_id += int(born.sum())
        return ids

    def _compare(self, looks: Dict[str, Tensor], mask_ious: Tensor,
                 frame_id: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Similarity, overlap and look of detections and tracks, (M, N)."""
        table, tracks = self._table, self._table.values
        gap = frame_id - table.last_seen.to(looks['box'].device)
        places = tracks['box'].clone()
        places[:, :2] += tracks['velocity'] * gap.clamp(max=MAX_COAST)[:, None]
        measures = dict(
            mask=mask_ious,
            box=box_closeness(looks['box'], places),
            cls=looks['cls'] @ tracks['cls'].t())
        overlap = torch.maximum(measures['mask'], measures['box'])
        reentry = torch.zeros_like(overlap)
        if looks['embed'].shape[1] > 0:
            cosine = looks['embed'] @ tracks['embed'].t()
            measures['appearance'] = cosine.clamp(min=0)
            reentry = measures['appearance'] * measures['cls']
        total = sum(self.weights[name] for name in measures)
        similarity = sum(self.weights[name] / total * value
                         for name, value in measures.items())
        return tuple(value.cpu().numpy()
                     for value in (similarity, overlap, reentry))

    def _remember(self, ids: np.ndarray, looks: Dict[str, Tensor],
                  frame_id: int) -> None:
        """Renew the tracks that were seen, births included."""
        seen = torch.from_numpy((ids >= 0).nonzero()[0])
        if len(seen) == 0:
            return
        table, tracks = self._table, self._table.values
        last_seen, num_old = table.last_seen.clone(), len(table)
        rows = table.see(torch.from_numpy(ids)[seen], frame_id)
        gap = torch.ones(len(rows))
        old = rows < num_old
        gap[old] = (frame_id - last_seen[rows[old]]).float()

        device = looks['box'].device
        new, gap, seen, rows = (
            value.to(device)[:, None] for value in (~old, gap, seen, rows))
        rows, seen = rows[:, 0], seen[:, 0]
        looks = {name: value[seen] for name, value in looks.items()}
        moved = (looks['box'] - tracks['box'][rows])[:, :2] / gap
        moved = moved.masked_fill(new, 0)
        tracks['velocity'][rows] = tracks['velocity'][rows].lerp(
            moved, VELOCITY_RATE)
        for name, rate in (('embed', EMBED_RATE), ('cls', CLASS_RATE)):
            mixed = tracks[name][rows].lerp(looks[name], rate)
            mixed = torch.where(new, looks[name], mixed)
            tracks[name][rows] = F.normalize(mixed, dim=1)
        tracks['box'][rows] = looks['box']
        tracks['mask'][rows] = looks['mask']

    def state_dict(self) -> Dict[str, Any]:
        """See :meth:`Tracker.state_dict`; bounded by ``max_tracks``."""
        table = self._table
        return dict(
            last_frame_id=self._last_frame_id,
            next_id=self._next_id,
            mask_size=None
            if self._mask_size is None else list(self._mask_size),
            forgotten=[]
            if table is None else [list(item) for item in table.forgotten],
            tracks=None if table is None else table.state_dict())

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """See :meth:`Tracker.load_state_dict`."""
        check_keys(state, self.state_dict())
        table = None
        if state['tracks'] is not None:
            table = TrackTable.from_state(state['tracks'], state['forgotten'])
            self._check_shapes(table)
        self.reset()
        if state['mask_size'] is not None:
            self._mask_size = tuple(state['mask_size'])
        self._last_frame_id = state['last_frame_id']
        self._next_id = state['next_id']
        self._table = table

    def _check_shapes(self, table: TrackTable) -> None:
        """Raise ValueError if the values of a state are of another tracker."""
        found = {
            name: tuple(value.shape[1:])
            for name, value in table.values.items()
        }
        fixed = dict(box=(4, ), velocity=(2, ))
        names = {*fixed, 'cls', 'embed', 'mask'}
        if set(found) != names or any(found[name] != shape
                                      for name, shape in fixed.items()):
            raise ValueError(f'tracks of a state must have {sorted(names)}, '
                             f'got {found}')
        if self.embed_dims not in (None, *found['embed']):
            raise ValueError(f'tracker state must have embed_dims '
                             f'{self.embed_dims}, got {found["embed"][0]}')


def _have_pixels(masks: Tensor, shares: Tensor) -> np.ndarray:
    """Which masks have a pixel, one that pooling has missed included.

    Args:
        masks (Tensor): Bool masks, has shape (M, h, w).
        shares (Tensor): The same pooled, has shape (M, P).
    """
    filled = shares.sum(1) > 0
    missed = ~filled  # few, and it takes long to look at every pixel
    filled[missed] = masks[missed].flatten(1).any(1)
    return filled.cpu().numpy()


def _match(values: np.ndarray, rows: np.ndarray, columns: np.ndarray,
           thr: float) -> np.ndarray:
    """Pairs (num, 2) by which values exceed ``thr`` most in sum.

    Args:
        values (np.ndarray): In [0, 1], has shape (M, N).
        rows (np.ndarray): Bool, which rows take part, has shape (M, ).
        columns (np.ndarray): Bool, the same for columns, has shape (N, ).
        thr (float): Values of pairs are above it.
    """
    rows, columns = rows.nonzero()[0], columns.nonzero()[0]
    gains = (values[np.ix_(rows, columns)] - thr).clip(min=0)
    first, second = linear_sum_assignment(gains, maximize=True)
    good = gains[first, second] > 0
    return np.stack([rows[first[good]], columns[second[good]]], axis=1)
