# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How well refinement recovers objects that the frame model lost.

Shapes: ``D`` result rows and ``G`` objects of one video, ``F`` frames of the
video, ``n`` pairs of an object and a frame in all videos, ``R`` result files.
"""
from collections import defaultdict
from numbers import Real
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from refinevis_mm.vis_json import (PathOrObject, Tube, check_ground_truth,
                                   check_results, distinct_tubes, frame_ious,
                                   load_json, mask_areas, num_frames_of,
                                   to_rles, tube_ious)

# Visible share of the object-frames of a subset: at least, and below.
OCCLUSION_SUBSETS = {
    '0-50 % occluded': (0.5, np.inf),
    '50-90 % occluded': (0.1, 0.5),
    '> 90 % occluded': (0., 0.1)
}
DETECTED_IOU = 0.5


def evaluate_recovery(gt: PathOrObject,
                      frame_level: PathOrObject,
                      refined: Sequence[PathOrObject],
                      check_masks: bool = False) -> Dict[str, Any]:
    """Mean mask IoU over object-frames, by how hard the object is to see.

    An object-frame is an object in a frame in which its mask is not empty.
    In each result file the object is carried by the tracklet of the best tube
    IoU with it, whatever the classes and scores, or by none if no tracklet
    touches it. The IoU of the object-frame is that of this tracklet's mask in
    the frame, 0 without a mask. Classes and scores do not count, so this
    measures masks and identities only. Crowd annotations are no objects.

    Subsets of the object-frames:

    - ``all``
    - ``0-50 % occluded``, ``50-90 % occluded``, ``> 90 % occluded``: by the
      share of the object that is hidden, the upper limits included. They need
      ``visibility`` in the annotations (per frame the visible share in [0, 1]
      or null, as OccludedShapes has it) and are left out without it.
    - ``missed``: in the frame-level results the object's tracklet has no mask
      in the frame, or the object has no tracklet.
    - ``undetected``: the missed ones that no other tracklet of the
      frame-level results shows, with an IoU of 0.5 in the frame. In the
      rest of the missed ones association has failed, not detection.
    - ``50-90 % occluded or missed``: the union of both; left out without
      ``visibility``.

    The missed ones have an IoU of 0 at the frame level by definition, so any
    mask that touches the object is a gain there; what refinement costs shows
    in ``all`` and in the frames below.

    Frames in which the object's mask is empty are not object-frames. For them
    the share in which the object's tracklet has a mask nevertheless is given:

    - ``absent``: all of them.
    - ``hidden``: those inside the picture, of visibility 0; left out without
      ``visibility``.

    Args:
        gt (str | PathLike | dict): Annotations in YouTube-VIS format, as a
            path (``.json`` or ``.json.gz``) or loaded.
        frame_level (str | PathLike | list): Result rows before refinement
            (``window=0``) as in :func:`evaluate_vis`, as a path or loaded.
        refined (Sequence[str | PathLike | list]): R - 1 results after
            refinement.
        check_masks (bool): As in :func:`evaluate_vis`. Defaults to False.

    Returns:
        dict: ``iou`` and ``hallucinated``, by the name of the subset dicts
        with ``count`` (object-frames), ``num_videos`` and lists of R
        fractions, frame-level results first: ``mean``, its standard error
        over videos ``se``, the difference ``gain`` to the frame-level results
        and its standard error ``gain_se``. Fractions are None in a subset
        without object-frames, standard errors also with a single video.

    Raises:
        ValueError: If there is no ground truth, the input is malformed or
            only some objects have their visibility.
        OSError: If a file cannot be read.
    """
    gt = load_json(gt)
    files = [load_json(results) for results in (frame_level, *refined)]
    check_ground_truth(gt, check_masks=check_masks)
    files = [
        check_results(gt, results, check_masks=check_masks)
        for results in files
    ]
    anns = [ann for ann in gt['annotations'] if not ann.get('iscrowd')]
    objs, rows = defaultdict(list), defaultdict(list)
    for ann in anns:
        objs[ann['video_id']].append(ann)
    for index, results in enumerate(files):
        for row in results:
            rows[index, row['video_id']].append(row)

    areas, ious, has_mask, detected, video_inds = [], [], [], [], []
    for video in gt['videos']:
        obj_tubes = [to_rles(video, obj) for obj in objs[video['id']]]
        obj_areas = mask_areas(obj_tubes, num_frames_of(video))
        followed = [
            _follow_objects(video, rows[index, video['id']], obj_tubes,
                            obj_areas) for index in range(len(files))
        ]
        areas.append(obj_areas.flatten())
        ious.append(np.stack([part[0].flatten() for part in followed]))
        has_mask.append(np.stack([part[1].flatten() for part in followed]))
        detected.append(followed[0][2].flatten())
        video_inds.append(np.full(obj_areas.size, len(video_inds)))
    ious, has_mask = np.concatenate(ious, 1), np.concatenate(has_mask, 1)
    video_inds = np.concatenate(video_inds)

    visible, visibility = np.concatenate(areas) > 0, _visibility(gt, objs)
    missed = visible & ~has_mask[0]
    subsets, empty_subsets = dict(all=visible), dict(absent=~visible)
    if visibility is not None:
        for name, (low, high) in OCCLUSION_SUBSETS.items():
            subsets[name] = visible & (visibility >= low) & (visibility < high)
        empty_subsets['hidden'] = ~visible & (visibility == 0)
    subsets['missed'] = missed
    subsets['undetected'] = missed & ~np.concatenate(detected)
    if visibility is not None:
        hard = '50-90 % occluded'
        subsets[f'{hard} or missed'] = subsets[hard] | missed
    return dict(
        iou={
            name: _summarise(ious[:, subset], video_inds[subset])
            for name, subset in subsets.items()
        },
        hallucinated={
            name: _summarise(has_mask[:, subset], video_inds[subset])
            for name, subset in empty_subsets.items()
        })


def _follow_objects(
        video: dict, rows: Sequence[dict], obj_tubes: Sequence[Tube],
        obj_areas: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give every object its tracklet and compare the two in every frame.

    Args:
        video (dict): From the annotation file.
        rows (Sequence[dict]): Results of the video.
        obj_tubes (Sequence[Sequence[dict | None]]): G tubes of F RLEs.
        obj_areas (ndarray): Areas in pixels, has shape (G, F).

    Returns:
        tuple[ndarray]: IoU in [0, 1]; whether the tracklet has a mask, bool;
        whether any tracklet has a mask of the object, bool. All have shape
        (G, F).
    """
    num_objs, num_frames = obj_areas.shape
    # the classes of a tracklet are rows with the same masks
    tubes = distinct_tubes([to_rles(video, row) for row in rows], num_frames)
    if not tubes or not num_objs:
        return (np.zeros(obj_areas.shape), *np.zeros(
            (2, *obj_areas.shape), dtype=bool))
    areas = mask_areas(tubes, num_frames)
    ious = frame_ious(tubes, obj_tubes, areas, obj_areas)  # (F, D, G)
    overlaps = tube_ious(tubes, obj_tubes, areas, obj_areas)  # (D, G)
    best = overlaps.argmax(0)
    touched = overlaps.any(0)[:, None]
    return (ious[:, best, np.arange(num_objs)].T * touched,
            (areas[best] > 0) & touched, (ious >= DETECTED_IOU).any(1).T)


def _visibility(gt: dict, objs: Dict[int, List[dict]]) -> Optional[np.ndarray]:
    """Visible shares in [0, 1], NaN for null, (n, ), or None without any."""
    anns = [obj for video in gt['videos'] for obj in objs[video['id']]]
    without = [ann['id'] for ann in anns if ann.get('visibility') is None]
    if len(without) == len(anns):
        return None
    if without:
        raise ValueError('all objects or none must have their visibility, '
                         f'annotation {without[0]} has none')
    for ann in anns:
        shares, masks = ann['visibility'], ann['segmentations']
        if not isinstance(shares, list) or len(shares) != len(masks):
            raise ValueError(f'annotation {ann["id"]} needs visibility or '
                             f'null for each of {len(masks)} frames, got '
                             f'{shares}')
        for frame, share in enumerate(shares):
            if share is None and not masks[frame]:
                continue
            if not isinstance(share, Real) or not 0 <= share <= 1:
                raise ValueError(
                    'visibility must be in [0, 1], or null without a mask, '
                    f'got {share!r} in frame {frame} of annotation '
                    f'{ann["id"]}')
    return np.array([share for ann in anns for share in ann['visibility']],
                    dtype=np.float64)


def _summarise(values: np.ndarray, video_inds: np.ndarray) -> Dict[str, Any]:
    """Numbers of a subset.

    Args:
        values (ndarray): In [0, 1], has shape (R, n).
        video_inds (ndarray): Video of each value, has shape (n, ).

    Returns:
        dict: See :func:`evaluate_recovery`.
    """
    values = values.astype(np.float64)
    means, errors = _mean_over_videos(values, video_inds)
    gains, gain_errors = _mean_over_videos(values - values[:1], video_inds)
    return dict(
        count=values.shape[1],
        num_videos=len(np.unique(video_inds)),
        mean=means,
        se=errors,
        gain=gains,
        gain_se=gain_errors)


def _mean_over_videos(
    values: np.ndarray, video_inds: np.ndarray
) -> Tuple[List[Optional[float]], List[Optional[float]]]:
    r"""Means of values (R, n) and their standard errors over videos.

    The mean is a ratio of two sums over videos, of values and of their
    number; the error is that of a ratio estimate, with V videos, sums
    :math:`s_v` and numbers :math:`c_v`:

    .. math:: \sqrt{V / (V - 1) \sum_v (s_v - c_v \bar x)^2} / \sum_v c_v
    """
    num_files, num_values = values.shape
    if not num_values:
        return [None] * num_files, [None] * num_files
    means = values.mean(1)
    videos, inverse = np.unique(video_inds, return_inverse=True)
    residuals = np.stack([
        np.bincount(inverse, weights=row - mean)
        for row, mean in zip(values, means)
    ])
    if len(videos) == 1:
        return means.tolist(), [None] * num_files
    squares = (residuals**2).sum(1) * len(videos) / (len(videos) - 1)
    return means.tolist(), (np.sqrt(squares) / num_values).tolist()
