# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Higher Order Tracking Accuracy, on mask IoUs.

`HOTA <https://arxiv.org/abs/2009.07736>`_ (Luiten et al. 2020) weighs how well
objects are found against how well they keep their identity, over many
thresholds of localisation. The numbers are those of TrackEval.

Shapes: ``F`` frames, ``G`` objects and ``D`` tracklets of one video, ``K``
thresholds alpha.
"""
from typing import Dict

import numpy as np
from scipy.optimize import linear_sum_assignment

NUM_ALPHAS = 19
ALPHAS = np.arange(1, 1 + NUM_ALPHAS) * 0.05
# an IoU of exactly k / 20 reaches the k-th threshold
EPS = np.finfo(np.float64).eps

Counts = Dict[str, np.ndarray]


def hota_counts(ious: np.ndarray, obj_seen: np.ndarray,
                det_seen: np.ndarray) -> Counts:
    """What HOTA adds up over videos and classes.

    Args:
        ious (np.ndarray): Mask IoU, 0 where one side is absent, float64, has
            shape (F, G, D).
        obj_seen (np.ndarray): Bool, frames in which each object has a mask,
            has shape (F, G).
        det_seen (np.ndarray): The same of the tracklets, has shape (F, D).

    Returns:
        dict[str, np.ndarray]: float64, each of shape (K, ): ``tp``, ``fn``,
        ``fp`` at every alpha; ``loc``, sum of the IoU of the true positives;
        ``ass``, ``ass_re``, ``ass_pr``, association scores summed over the
        true positives.
    """
    num_obj, num_det = obj_seen.sum(0), det_seen.sum(0)  # (G,), (D,)
    num_frames = alignment(ious, num_obj, num_det)
    # true positives by the highest alpha they reach: 0 for none
    levels = np.zeros((NUM_ALPHAS + 1, *num_frames.shape))
    loc = np.zeros(NUM_ALPHAS + 1)
    for frame in np.flatnonzero(ious.any((1, 2))):
        objs, dets = (
            np.flatnonzero(seen[frame]) for seen in (obj_seen, det_seen))
        values = ious[frame][np.ix_(objs, dets)]
        rows, cols = best_pairs(num_frames[np.ix_(objs, dets)] * values)
        values = values[rows, cols]
        reached = np.searchsorted(ALPHAS - EPS, values, side='right')
        np.add.at(levels, (reached, objs[rows], dets[cols]), 1)
        np.add.at(loc, reached, values)
    pairs = levels[:0:-1].cumsum(0)[::-1]  # (K, G, D), frames as TP
    tp = pairs.sum((1, 2))
    either = num_obj[:, None] + num_det - pairs
    squares = pairs * pairs
    return dict(
        tp=tp,
        fn=num_obj.sum() - tp,
        fp=num_det.sum() - tp,
        loc=loc[:0:-1].cumsum()[::-1],
        ass=(squares / np.maximum(either, 1)).sum((1, 2)),
        ass_re=(squares / np.maximum(num_obj[:, None], 1)).sum((1, 2)),
        ass_pr=(squares / np.maximum(num_det, 1)).sum((1, 2)))


def alignment(ious: np.ndarray, num_obj: np.ndarray,
              num_det: np.ndarray) -> np.ndarray:
    """How well whole tracks fit, by which frames are matched.

    Args:
        ious (np.ndarray): Has shape (F, G, D).
        num_obj (np.ndarray): Frames of each object, has shape (G, ).
        num_det (np.ndarray): Frames of each tracklet, has shape (D, ).

    Returns:
        np.ndarray: In [0, 1], Jaccard index of the soft matches of pairs,
        has shape (G, D).
    """
    either = ious.sum(1)[:, None] + ious.sum(2)[..., None] - ious
    shares = np.divide(
        ious, either, out=np.zeros_like(ious), where=either > EPS)
    common = shares.sum(0)
    return common / np.maximum(num_obj[:, None] + num_det - common, EPS)


def best_pairs(scores: np.ndarray) -> tuple:
    """One-to-one pairs of the highest sum of scores.

    Args:
        scores (np.ndarray): Not negative, has shape (G, D).

    Returns:
        tuple[np.ndarray]: Rows and columns of the pairs with a score above 0.
    """
    positive = scores > 0
    if (positive.sum(0) > 1).any() or (positive.sum(1) > 1).any():
        rows, cols = linear_sum_assignment(scores, maximize=True)
        kept = positive[rows, cols]
        return rows[kept], cols[kept]
    return positive.nonzero()  # nothing to choose


def hota_values(counts: Counts) -> Dict[str, np.ndarray]:
    """HOTA and its parts at every alpha.

    Args:
        counts (dict[str, np.ndarray]): Sums of :func:`hota_counts`.

    Returns:
        dict[str, np.ndarray]: Fractions of shape (K, ): ``hota``, ``deta``,
        ``assa``, ``detre``, ``detpr``, ``assre``, ``asspr``, ``owta`` and
        ``loca``, which is 1 where there is no true positive.
    """
    tp, fn, fp = (counts[name] for name in ('tp', 'fn', 'fp'))
    some = np.maximum(tp, 1)
    values = dict(
        deta=tp / np.maximum(tp + fn + fp, 1),
        assa=counts['ass'] / some,
        detre=tp / np.maximum(tp + fn, 1),
        detpr=tp / np.maximum(tp + fp, 1),
        assre=counts['ass_re'] / some,
        asspr=counts['ass_pr'] / some,
        loca=np.where(tp > 0, counts['loc'] / some, 1.))
    values['hota'] = np.sqrt(values['deta'] * values['assa'])
    values['owta'] = np.sqrt(values['detre'] * values['assa'])
    return values
