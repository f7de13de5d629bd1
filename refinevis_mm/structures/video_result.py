# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results of a video as run-length codes, and the rows of a result file."""
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from .mask_codes import encode_masks
from .running_scores import RunningScores
from .track_merges import merge_entries


class VideoResult:
    """Results of one video, gathered frame by frame as run-length codes.

    Masks are encoded when they arrive and class scores are kept as running
    sums, so the memory is one RLE per instance and frame plus ``K`` numbers
    per instance; nothing dense survives :meth:`add_frame`.

    Args:
        video_length (int, optional): Number of frames of the video. ``None``
            for a stream whose end is not known yet: the length is then the
            highest frame seen plus one. Defaults to None.
        score_average (str): See :class:`RunningScores`. Defaults to
            'scores'.

    Raises:
        ValueError: If ``video_length`` is not positive, or ``score_average``
            unknown.
    """

    def __init__(self,
                 video_length: Optional[int] = None,
                 score_average: str = 'scores') -> None:
        if video_length is not None and video_length < 1:
            raise ValueError(
                f'video_length must be at least 1, got {video_length}')
        self.video_length = video_length
        self._num_frames = 0
        self._num_classes: Optional[int] = None
        self._scores = RunningScores(score_average)
        self._rles: Dict[int, Dict[int, Optional[dict]]] = {}

    def add_frame(self, frame_id: int, ids: Sequence[int], cls_scores: Tensor,
                  scored: Tensor, masks: Tensor) -> None:
        """Add the instances of one frame.

        Args:
            frame_id (int): 0-based position of the frame in the video.
            ids (Sequence[int]): Instance id of each row, N in number, each
                at most once.
            cls_scores (Tensor): Class probabilities in [0, 1], has shape
                (N, K).
            scored (Tensor): Bool, rows that count in the class mean, has
                shape (N, ).
            masks (Tensor): Bool, has shape (N, ori_h, ori_w). An empty mask
                is kept as ``None``.

        Raises:
            ValueError: If the shapes disagree, ``frame_id`` lies outside the
                video, or an id comes twice for this frame.
        """
        ids = [int(i) for i in ids]
        self._check_frame(frame_id, ids, cls_scores, scored, masks)
        self._scores.add(ids,
                         cls_scores.detach().double().cpu().numpy(),
                         scored.tolist())
        self._num_frames = max(self._num_frames, frame_id + 1)
        self._num_classes = cls_scores.shape[1]
        if not ids:
            return
        for instance_id, rle in zip(ids, encode_masks(masks)):
            self._rles.setdefault(instance_id, {})[frame_id] = rle

    def add_scores(self, ids: Sequence[int], cls_scores: Tensor) -> None:
        """Add class scores that are not those of a frame, but of a clip.

        Args:
            ids (Sequence[int]): Instance ids, N in number.
            cls_scores (Tensor): Class probabilities in [0, 1], has shape
                (N, K); all count in the class mean.
        """
        self._num_classes = cls_scores.shape[1]
        self._scores.add(ids,
                         cls_scores.detach().double().cpu().numpy(),
                         [True] * len(ids))

    def discard(self, ids: Sequence[int]) -> None:
        """Forget instances that the tracker has judged to be noise.

        Args:
            ids (Sequence[int]): Instance ids; ids never added are skipped.
        """
        ids = [int(instance_id) for instance_id in ids]
        self._scores.discard(ids)
        for instance_id in ids:
            self._rles.pop(instance_id, None)

    def merge(self, ids: Mapping[int, int]) -> None:
        """Make one of instances that turned out to be one.

        In a frame of both, what the younger one says stays.

        Args:
            ids (Mapping[int, int]): See :class:`TrackMerges`; unknown ids are
                skipped.
        """
        self._scores.merge(ids)
        self._rles = merge_entries(self._rles, ids, dict.__or__)

    def running_scores(self, ids: Sequence[int]) -> Tensor:
        """Mean class scores over the frames that count so far.

        Args:
            ids (Sequence[int]): N instance ids that have been added.

        Returns:
            Tensor: In [0, 1], float32 on the CPU, has shape (N, K). A row is
            zero while its instance has no such frame.

        Raises:
            ValueError: If an id is unknown or was discarded.
        """
        rows = [self._scores.mean(int(instance_id)) for instance_id in ids]
        return torch.as_tensor(
            np.array(rows).reshape(len(rows), self._num_classes or 0),
            dtype=torch.float32)

    def tracklets(self,
                  cls_thr: float = 0.05,
                  max_per_video: Optional[int] = None) -> List[dict]:
        """Every (instance, class) pair whose mean score is high enough.

        The class score of an instance is the mean over the frames that
        count in it; all classes above the threshold are reported, as in
        IDOL.

        Args:
            cls_thr (float): A pair is kept when its score is greater.
                Defaults to 0.05.
            max_per_video (int, optional): Keep only that many pairs, of the
                highest scores. Defaults to None, which keeps all.

        Returns:
            list[dict]: ``instances_id`` (int), ``label`` (int, 0-based),
            ``score`` (float in [0, 1]) and ``segmentations`` (one RLE dict of
            the original size, or None, per frame of the video). By order of
            appearance, then by label. The classes of an instance share one
            segmentations list.
        """
        length = self.video_length or self._num_frames
        tracklets = []
        scores = np.array([self._scores.mean(i) for i in self._rles])
        scores = scores.reshape(len(self._rles), self._num_classes or 0)
        kept = best_pairs(scores, cls_thr, max_per_video)
        for row, (instance_id, rles) in enumerate(self._rles.items()):
            segmentations = [rles.get(frame) for frame in range(length)]
            tracklets.extend(
                dict(
                    instances_id=instance_id,
                    label=int(label),
                    score=float(scores[row, label]),
                    segmentations=segmentations)
                for label in np.flatnonzero(kept[row]))
        return tracklets

    def _check_frame(self, frame_id: int, ids: List[int], cls_scores: Tensor,
                     scored: Tensor, masks: Tensor) -> None:
        """Raise ValueError if the arguments of add_frame do not fit."""
        if frame_id < 0 or (self.video_length is not None
                            and frame_id >= self.video_length):
            raise ValueError('frame_id must lie inside the video of '
                             f'{self.video_length} frames, got {frame_id}')
        num_ids = len(ids)
        if (cls_scores.dim() != 2 or masks.dim() != 3
                or len(cls_scores) != num_ids or len(masks) != num_ids
                or tuple(scored.shape) != (num_ids, )):
            raise ValueError(
                f'{num_ids} ids need cls_scores ({num_ids}, K), scored '
                f'({num_ids},) and masks ({num_ids}, H, W), got '
                f'{tuple(cls_scores.shape)}, {tuple(scored.shape)} and '
                f'{tuple(masks.shape)}')
        if self._num_classes not in (None, cls_scores.shape[1]):
            raise ValueError(f'earlier frames have {self._num_classes} '
                             f'classes, got {cls_scores.shape[1]}')
        seen = [i for i in ids if frame_id in self._rles.get(i, {})]
        if seen or len(set(ids)) < num_ids:
            raise ValueError('an instance may be added once per frame, got '
                             f'ids {ids} for frame {frame_id}')


def best_pairs(scores: np.ndarray,
               cls_thr: float,
               max_per_video: Optional[int] = None) -> np.ndarray:
    """The (instance, class) pairs of a video that are reported.

    Args:
        scores (np.ndarray): Final class scores, has shape (N, K).
        cls_thr (float): Scores of pairs are greater.
        max_per_video (int, optional): Most pairs; of equal ones the first
            are taken. Defaults to None, all.

    Returns:
        np.ndarray: Bool, has shape (N, K).
    """
    kept = scores > cls_thr
    if max_per_video is not None:
        order = np.argsort(-scores, axis=None, kind='stable')
        kept.flat[order[max_per_video:]] = False
    return kept


def to_results_json(video_id: int, tracklets: Sequence[dict],
                    category_ids: Sequence[int]) -> List[dict]:
    """Turn the tracklets of a video into YouTube-VIS result rows.

    Args:
        video_id (int): Id of the video in the annotation file.
        tracklets (Sequence[dict]): As :meth:`VideoResult.tracklets` returns
            them.
        category_ids (Sequence[int]): Category id of the annotation file for
            each label.

    Returns:
        list[dict]: Rows with ``video_id``, ``category_id``, ``score`` and
        ``segmentations``, in the order of ``tracklets``.

    Raises:
        ValueError: If a label has no category id.
    """
    rows = []
    for tracklet in tracklets:
        label = int(tracklet['label'])
        if not 0 <= label < len(category_ids):
            raise ValueError(f'labels must lie in [0, {len(category_ids)}), '
                             f'got {label} in video {video_id}')
        rows.append(
            dict(
                video_id=video_id,
                category_id=int(category_ids[label]),
                score=float(tracklet['score']),
                segmentations=tracklet['segmentations']))
    return rows
