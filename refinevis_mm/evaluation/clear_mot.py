# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""CLEAR-MOT and IDF1, on mask IoUs.

`CLEAR-MOT <https://doi.org/10.1155/2008/246309>`_ (Bernardin and Stiefelhagen
2008) follows the matches frame by frame and counts misses, false positives
and identity switches; `IDF1 <https://arxiv.org/abs/1609.01775>`_ (Ristani et
al. 2016) pairs whole trajectories. The numbers are those of TrackEval.

Shapes: ``F`` frames, ``G`` objects and ``D`` tracklets of one video.
"""
from typing import Dict

import numpy as np
from scipy.optimize import linear_sum_assignment

from .hota import EPS, best_pairs
from .overlaps import IOU_THR

STAYS = 1000  # what it is worth to keep the tracklet of the last frame
MOSTLY_TRACKED, PARTLY_TRACKED = 0.8, 0.2  # shares of the frames of an object
NONE = -1


def clear_counts(ious: np.ndarray, obj_seen: np.ndarray,
                 det_seen: np.ndarray) -> Dict[str, float]:
    """What CLEAR-MOT adds up over videos and classes.

    Pairs with an IoU of at least 0.5 are matched frame by frame; what was
    matched in the frame before stays so while it can. The frame before is
    the last in which there were objects and tracklets at all.

    Args:
        ious (np.ndarray): Mask IoU, 0 where one side is absent, has shape
            (F, G, D).
        obj_seen (np.ndarray): Bool, frames in which each object has a mask,
            has shape (F, G).
        det_seen (np.ndarray): The same of the tracklets, has shape (F, D).

    Returns:
        dict[str, float]: ``matches``, ``misses``, ``false_positives``;
        ``iou_sum`` of the matches; ``id_switches``, matches to another
        tracklet than at the object's last match, however long ago;
        ``fragmentations``, times that an object is matched anew after a
        frame in which it was not; objects that are ``mostly_tracked``, in
        more than 0.8 of their frames, ``partly_tracked``, in at least 0.2,
        and ``mostly_lost``.
    """
    matches = match_frames(ious, obj_seen, det_seen)
    tracked = matches != NONE
    frames, objs = tracked.nonzero()
    switches = starts = 0
    both = obj_seen.any(1) & det_seen.any(1)
    for tracklets, seen in zip(matches.T, tracked.T):
        switches += np.count_nonzero(np.diff(tracklets[seen]))
        begun = np.diff(seen[both].astype(np.int8), prepend=0) == 1
        starts += max(np.count_nonzero(begun) - 1, 0)
    present = obj_seen.any(0)
    shares = tracked.sum(0)[present] / obj_seen.sum(0)[present]
    num_mostly = int((shares > MOSTLY_TRACKED).sum())
    num_lost = int((shares < PARTLY_TRACKED).sum())
    return dict(
        matches=len(frames),
        misses=int(obj_seen.sum()) - len(frames),
        false_positives=int(det_seen.sum()) - len(frames),
        iou_sum=float(ious[frames, objs, matches[frames, objs]].sum()),
        id_switches=switches,
        fragmentations=starts,
        mostly_tracked=num_mostly,
        partly_tracked=len(shares) - num_mostly - num_lost,
        mostly_lost=num_lost)


def match_frames(ious: np.ndarray, obj_seen: np.ndarray,
                 det_seen: np.ndarray) -> np.ndarray:
    """Match tracklets to objects frame by frame as CLEAR-MOT does.

    Args:
        ious (np.ndarray): See :func:`clear_counts`.
        obj_seen (np.ndarray): See :func:`clear_counts`.
        det_seen (np.ndarray): See :func:`clear_counts`.

    Returns:
        np.ndarray: Tracklet of each object or -1, int64, has shape (F, G).
    """
    matches = np.full(obj_seen.shape, NONE, dtype=np.int64)
    last = np.full(obj_seen.shape[1], NONE, dtype=np.int64)
    for frame, current in enumerate(matches):
        objs, dets = (
            np.flatnonzero(seen[frame]) for seen in (obj_seen, det_seen))
        if not len(objs) or not len(dets):
            continue
        scores = ious[frame][np.ix_(objs, dets)]
        reached = scores >= IOU_THR - EPS
        scores = np.where(reached,
                          scores + STAYS * (last[objs][:, None] == dets), 0.)
        rows, cols = best_pairs(scores)
        current[objs[rows]] = dets[cols]
        last = current
    return matches


def identity_counts(ious: np.ndarray, obj_seen: np.ndarray,
                    det_seen: np.ndarray) -> Dict[str, int]:
    """What IDF1 adds up over videos and classes.

    Args:
        ious (np.ndarray): See :func:`clear_counts`.
        obj_seen (np.ndarray): See :func:`clear_counts`.
        det_seen (np.ndarray): See :func:`clear_counts`.

    Returns:
        dict[str, int]: ``idtp``, frames explained by the best one-to-one
        pairing of tracklets and objects; ``num_gt`` and ``num_pred``, masks
        of objects and of tracklets; ``num_objects`` and ``num_tracklets``
        that have a mask.
    """
    common = (ious >= IOU_THR).sum(0)  # (G, D)
    pairs = linear_sum_assignment(common, maximize=True)
    return dict(
        idtp=int(common[pairs].sum()),
        num_gt=int(obj_seen.sum()),
        num_pred=int(det_seen.sum()),
        num_objects=int(obj_seen.any(0).sum()),
        num_tracklets=int(det_seen.any(0).sum()))


def clear_values(counts: Dict[str, float]) -> Dict[str, float]:
    """Rates of CLEAR-MOT.

    Args:
        counts (dict[str, float]): Sums of :func:`clear_counts`.

    Returns:
        dict[str, float]: ``mota`` and ``moda``, accuracy with and without
        switches, which have no lower bound; ``motp``, mean IoU of the
        matches; ``smota``, ``mota`` with the IoU in the place of matches. Where
        there is no object at all they are counts of errors.
    """
    num_gt = max(counts['matches'] + counts['misses'], 1)
    found = counts['matches'] - counts['false_positives']
    soft = counts['iou_sum'] - counts['false_positives']
    switches = counts['id_switches']
    return dict(
        mota=(found - switches) / num_gt,
        motp=counts['iou_sum'] / max(counts['matches'], 1),
        moda=found / num_gt,
        smota=(soft - switches) / num_gt)


def identity_values(counts: Dict[str, int]) -> Dict[str, float]:
    """Rates of IDF1.

    Args:
        counts (dict[str, int]): Sums of :func:`identity_counts`.

    Returns:
        dict[str, float]: ``idf1``, ``idp`` and ``idr``: F1, precision and
        recall of the frames explained by the best pairing.
    """
    num_gt, num_pred = counts['num_gt'], counts['num_pred']
    return dict(
        idf1=2 * counts['idtp'] / max(num_gt + num_pred, 1),
        idp=counts['idtp'] / max(num_pred, 1),
        idr=counts['idtp'] / max(num_gt, 1))
