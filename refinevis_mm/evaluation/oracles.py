# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What results would be worth if one part of a model were perfect."""
from collections import defaultdict
from typing import Any, Dict, List, Optional

import numpy as np

from refinevis_mm.vis_json import (PathOrObject, load_pair, mask_areas,
                                   num_frames_of, rows_from, to_rles, tube_key)
from .clear_mot import NONE
from .identity_events import VideoIdentities, compare_videos
from .tracking_eval import evaluate_tracking
from .vis_eval import evaluate_vis

ORACLES = ('as it is', 'classes', 'association', 'detection', 'masks')
MEASURES = ('AP', 'AP50', 'hota', 'deta', 'assa', 'id_switches')
Scores = Dict[Any, float]  # by category id


def evaluate_oracles(
        gt: PathOrObject,
        results: PathOrObject,
        score_thr: Optional[float] = None) -> Dict[str, Dict[str, float]]:
    """Measure results in which one part was repaired with the ground truth.

    Objects and tracklets are matched frame by frame as CLEAR-MOT does, from
    an IoU of 0.5 on, classes taken as one.

    - 'as it is': tracklets from ``score_thr`` on.
    - 'classes': a tracklet has the category of the object that it is matched
      to in most frames, with the best of its scores.
    - 'association': the masks of an object are one tracklet, with the mean of
      the class scores of those they came from. A mask that is matched to
      nothing goes with the object that its tracklet is matched to nearest in
      time, if that one has no other in this frame, and stays behind
      otherwise.
    - 'detection': every visible object is found, missed ones with their own
      mask, under the tracklet of their last match or, before the first, of
      the next; where that one shows another object, and where there is none,
      under one of its own. What is not matched is taken out.
    - 'masks': a matched mask is that of the object.

    Args:
        gt (str | PathLike | dict): Annotations in YouTube-VIS format, as a
            path or loaded.
        results (str | PathLike | list): Rows as in :func:`evaluate_vis`, as a
            path or loaded.
        score_thr (float, optional): Least score of a row. Defaults to None,
            all rows.

    Returns:
        dict[str, dict[str, float]]: ``AP``, ``AP50``, ``hota``, ``deta``,
        ``assa`` and ``id_switches`` of each.

    Raises:
        ValueError: If there is no ground truth or the input is malformed.
        OSError: If a file cannot be read.
    """
    truth, rows = load_pair(gt, results)
    rows = rows_from(rows, score_thr)
    videos = compare_videos(truth, rows)
    scores = _scores_of(truth, rows)
    table = {}
    for name in ORACLES:
        repaired = [
            row for video in videos
            for row in oracle_rows(video, scores[video.video['id']], name)
        ]
        vis = evaluate_vis(truth, repaired, num_workers=0)
        tracking = evaluate_tracking(truth, repaired)
        numbers = {**tracking, **vis}
        table[name] = {key: numbers[key] for key in MEASURES}
    return table


def oracle_rows(found: VideoIdentities, scores: Dict[tuple, Scores],
                oracle: str) -> List[dict]:
    """Result rows of a video after a repair.

    Args:
        found (:obj:`VideoIdentities`): The video.
        scores (dict[tuple, dict[Any, float]]): Class scores of its tracklets,
            by :func:`tube_key`.
        oracle (str): One of ``ORACLES``.

    Returns:
        list[dict]: Rows in YouTube-VIS form.
    """
    num_frames = len(found.matches)
    areas = mask_areas(found.dets, num_frames)
    own = [scores[tube_key(*pair)] for pair in zip(found.dets, areas)]
    tubes: List[List[Optional[dict]]] = [list(tube) for tube in found.dets]
    if oracle == 'classes':
        own = [
            _true_class(found, det, classes) for det, classes in enumerate(own)
        ]
    elif oracle == 'masks':
        for frame, row in zip(*(found.matches != NONE).nonzero()):
            tubes[found.matches[frame, row]][frame] = found.objs[row][frame]
    elif oracle == 'association':
        tubes, own = _associate(found, tubes, own)
    elif oracle == 'detection':
        tubes, own = _detect(found, own)
    return [
        dict(
            video_id=found.video['id'],
            category_id=category_id,
            score=score,
            segmentations=tube) for tube, classes in zip(tubes, own)
        if any(tube) for category_id, score in classes.items()
    ]


def _scores_of(truth: dict,
               rows: List[dict]) -> Dict[Any, Dict[tuple, Scores]]:
    """Class scores of the tracklets, by video and masks."""
    scores: Dict[Any, Dict[tuple, Scores]] = defaultdict(dict)
    videos = {video['id']: video for video in truth['videos']}
    for row in rows:
        video = videos[row['video_id']]
        tube = to_rles(video, row)
        key = tube_key(tube, mask_areas([tube], num_frames_of(video))[0])
        classes = scores[video['id']].setdefault(key, {})
        category_id = row['category_id']
        classes[category_id] = max(classes.get(category_id, 0.), row['score'])
    return scores


def _true_class(found: VideoIdentities, det: int, classes: Scores) -> Scores:
    """The category of the object that a tracklet is matched to most."""
    counts = (found.matches == det).sum(0)
    if not counts.any():
        return classes
    return {found.anns[counts.argmax()]['category_id']: max(classes.values())}


def _associate(found: VideoIdentities, tubes: List[list],
               own: List[Scores]) -> tuple:
    """See 'association' of :func:`evaluate_oracles`."""
    owners = _nearest_owners(found)
    left = [list(tube) for tube in tubes]
    new_tubes, new_scores = [], []
    for row in range(len(found.objs)):
        tube: List[Optional[dict]] = [None] * len(found.matches)
        total: Scores = defaultdict(float)
        for frame, det in enumerate(found.matches[:, row].tolist()):
            if det == NONE:
                free = np.flatnonzero(owners[frame] == row)
                if not len(free):
                    continue
                det = int(free[0])
            tube[frame], left[det][frame] = tubes[det][frame], None
            for category_id, score in own[det].items():
                total[category_id] += score
        num_masks = sum(mask is not None for mask in tube)
        new_tubes.append(tube)
        new_scores.append({
            category_id: score / num_masks
            for category_id, score in total.items()
        })
    return new_tubes + left, new_scores + own


def _nearest_owners(found: VideoIdentities) -> np.ndarray:
    """Object that an unmatched mask is thought to show, or -1.

    Args:
        found (:obj:`VideoIdentities`): The video.

    Returns:
        np.ndarray: The object that the tracklet is matched to nearest in
        time, -1 where it is matched, absent or never matched, int64, has
        shape (F, D).
    """
    owners = np.full(found.overlaps.det_seen.shape, NONE, dtype=np.int64)
    for det in range(len(found.dets)):
        frames, objs = (found.matches == det).nonzero()
        if not len(frames):
            continue
        free = np.flatnonzero(found.overlaps.det_seen[:, det])
        free = free[~np.isin(free, frames)]
        nearest = np.abs(free[:, None] - frames).argmin(1)
        owners[free, det] = objs[nearest]
    return owners


def _detect(found: VideoIdentities, own: List[Scores]) -> tuple:
    """See 'detection' of :func:`evaluate_oracles`."""
    num_frames = len(found.matches)
    tubes: List[List[Optional[dict]]] = [[None] * num_frames for _ in own]
    for frame, row in zip(*(found.matches != NONE).nonzero()):
        det = found.matches[frame, row]
        tubes[det][frame] = found.dets[det][frame]
    scores = list(own)
    for row, ann in enumerate(found.anns):
        column = found.matches[:, row]
        matched = np.flatnonzero(column != NONE)
        seen = found.overlaps.obj_seen[:, row]
        extra: List[Optional[dict]] = [None] * num_frames
        for frame in np.flatnonzero(seen & (column == NONE)).tolist():
            target = extra
            if len(matched):
                last = np.searchsorted(matched, frame, side='right') - 1
                det = int(column[matched[max(last, 0)]])
                if tubes[det][frame] is None:
                    target = tubes[det]
            target[frame] = found.objs[row][frame]
        if any(extra):
            tubes.append(extra)
            scores.append(own[int(column[matched[0]])]
                          if len(matched) else {ann['category_id']: 1.})
    return tubes, scores
