# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How well the objects of a video keep their identity: CLEAR-MOT and IDF1.

`CLEAR-MOT <https://doi.org/10.1155/2008/246309>`_ (Bernardin and Stiefelhagen
2008) follows the matches frame by frame and counts misses, false positives
and identity switches; `IDF1 <https://arxiv.org/abs/1609.01775>`_ (Ristani et
al. 2016) pairs whole trajectories. Both are taken on masks, whatever the
classes, for the files that :func:`evaluate_vis` reads.

Shapes: ``D`` predicted tracklets and ``G`` objects of one video, ``F`` frames
of the video.
"""
import math
from collections import defaultdict
from typing import Any, Dict, List, Tuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from refinevis_mm.vis_json import (PathOrObject, check_ground_truth,
                                   check_results, distinct_tubes, frame_ious,
                                   load_json, mask_areas, num_frames_of,
                                   to_rles)


def evaluate_identity(gt: PathOrObject,
                      results: PathOrObject,
                      score_thr: float = 0.3,
                      iou_thr: float = 0.5) -> Dict[str, Any]:
    """Count how often results lose or mix up the objects of a video.

    Classes are not compared. The rows of a tracklet with several classes
    have the same masks and count as one tracklet, with the best of their
    scores; rows of categories that ``gt`` does not have are dropped. Masks
    of different tracklets may overlap. An object or tracklet is absent from
    frames in which its mask is None or empty.

    Crowd annotations are no objects. A predicted mask that reaches no object
    but lies in a crowd, by ``iou_thr`` of its area, does not count.

    Args:
        gt (str | PathLike | dict): Annotations in YouTube-VIS format, as a
            path (``.json`` or ``.json.gz``) or loaded.
        results (str | PathLike | list): Rows as in :func:`evaluate_vis`, as a
            path or loaded.
        score_thr (float): Rows below this score are not used. Defaults to
            0.3.
        iou_thr (float): Mask IoU in (0, 1] from which a tracklet can match an
            object in a frame. Defaults to 0.5.

    Returns:
        dict: Fractions, 0 where nothing is predicted (``mota`` has no lower
        bound):

        - ``idf1``, ``idp``, ``idr``: F1, precision and recall of the frames
          explained by the best one-to-one pairing of tracklets and objects.
        - ``mota``: 1 - (misses + false positives + switches) / ``num_gt``.

        Counts, summed over the videos:

        - ``id_switches``: Matches of an object to another tracklet than at
          its last match, however long ago that was.
        - ``fragmentations``: Matches of an object resumed after it was missed
          in a frame in which it is visible.
        - ``misses``, ``false_positives``: Object-frames and predicted masks
          without a match.
        - ``num_gt``, ``num_pred``: Object-frames and predicted masks.
        - ``idtp``: Frames explained by the best pairing.

        And ``per_video``: these counts by video id.

    Raises:
        ValueError: If there is no ground truth, the input is malformed or a
            threshold is out of range.
        OSError: If a file cannot be read.
    """
    if not math.isfinite(score_thr):
        raise ValueError(f'score_thr must be finite, got {score_thr}')
    if not 0 < iou_thr <= 1:
        raise ValueError(f'iou_thr must lie in (0, 1], got {iou_thr}')
    gt, results = load_json(gt), load_json(results)
    check_ground_truth(gt)
    results = check_results(gt, results)
    objs, rows = defaultdict(list), defaultdict(list)
    for ann in gt['annotations']:
        objs[ann['video_id']].append(ann)
    for row in results:
        if row['score'] >= score_thr:
            rows[row['video_id']].append(row)
    per_video = {
        video['id']:
        _count_video(video, rows[video['id']], objs[video['id']], iou_thr)
        for video in gt['videos']
    }
    counts = {
        key: sum(numbers[key] for numbers in per_video.values())
        for key in next(iter(per_video.values()))
    }
    num_gt, num_pred = counts['num_gt'], counts['num_pred']
    if not num_gt:
        raise ValueError('there is no ground truth: all annotations are '
                         'crowds or have no mask')
    errors = sum(counts[key]
                 for key in ('misses', 'false_positives', 'id_switches'))
    return dict(
        idf1=2 * counts['idtp'] / (num_gt + num_pred),
        idp=counts['idtp'] / max(num_pred, 1),
        idr=counts['idtp'] / num_gt,
        mota=1 - errors / num_gt,
        **counts,
        per_video=per_video)


def _count_video(video: dict, rows: List[dict], anns: List[dict],
                 iou_thr: float) -> Dict[str, int]:
    """Counts of one video, the keys are those of ``per_video``."""
    num_frames = num_frames_of(video)
    objs, crowds = [], []
    for ann in anns:
        (crowds if ann.get('iscrowd') else objs).append(to_rles(video, ann))
    dets = distinct_tubes([to_rles(video, row) for row in rows], num_frames)
    det_areas, obj_areas, crowd_areas = (
        mask_areas(tubes, num_frames) for tubes in (dets, objs, crowds))

    ious = frame_ious(dets, objs, det_areas, obj_areas)
    ious[ious < iou_thr] = 0.
    covers = frame_ious(dets, crowds, det_areas, crowd_areas, crowd=True)
    excused = (covers >= iou_thr).any(2) & ~ious.any(2)  # (F, D)
    num_gt = np.count_nonzero(obj_areas)
    num_pred = np.count_nonzero(det_areas) - np.count_nonzero(excused)

    matches = _match_frames(ious)
    num_matches = np.count_nonzero(matches >= 0)
    id_switches, fragmentations = _count_breaks(matches, obj_areas.T > 0)
    num_common = np.count_nonzero(ious, axis=0)  # (D, G)
    pairs = linear_sum_assignment(num_common, maximize=True)
    return dict(
        id_switches=id_switches,
        fragmentations=fragmentations,
        misses=num_gt - num_matches,
        false_positives=num_pred - num_matches,
        num_gt=num_gt,
        num_pred=num_pred,
        idtp=int(num_common[pairs].sum()))


def _match_frames(ious: np.ndarray) -> np.ndarray:
    """Match tracklets to objects frame by frame as CLEAR-MOT does.

    What was matched in the frame before stays matched while it can be; the
    rest is matched for the highest sum of IoU.

    Args:
        ious (ndarray): 0 where a pair cannot match, has shape (F, D, G).

    Returns:
        ndarray: Tracklet of each object or -1, int64, has shape (F, G).
    """
    num_frames, _, num_objs = ious.shape
    matches = np.full((num_frames, num_objs), -1, dtype=np.int64)
    previous = np.full(num_objs, -1, dtype=np.int64)
    for free, current in zip(ious.copy(), matches):
        kept = np.flatnonzero(previous >= 0)
        kept = kept[free[previous[kept], kept] > 0]
        current[kept] = previous[kept]
        free[current[kept]] = free[:, kept] = 0.
        if free.any():
            rows, cols = linear_sum_assignment(free, maximize=True)
            found = free[rows, cols] > 0
            current[cols[found]] = rows[found]
        previous = current
    return matches


def _count_breaks(matches: np.ndarray, visible: np.ndarray) -> Tuple[int, int]:
    """Identity switches and fragmentations.

    Args:
        matches (ndarray): Tracklet of each object or -1, has shape (F, G).
        visible (ndarray): Whether the object has a mask, bool, has shape
            (F, G).

    Returns:
        tuple[int]: Switches and fragmentations of all objects.
    """
    id_switches = fragmentations = 0
    for tracklets, frames in zip(matches.T, visible.T):
        tracked = tracklets >= 0
        changes = np.diff(tracklets[tracked])
        id_switches += np.count_nonzero(changes)
        starts = np.diff(tracked[frames].astype(np.int8), prepend=0) == 1
        fragmentations += max(np.count_nonzero(starts) - 1, 0)
    return id_switches, fragmentations
