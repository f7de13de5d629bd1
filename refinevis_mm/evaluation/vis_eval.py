# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The YouTube-VIS / OVIS protocol, equal to the official evaluator.

The rules are those of ``ytvoseval.py`` in youtubevos/cocoapi. Intersections
are gathered frame by frame with pycocotools, matching runs over all IoU
thresholds and area ranges at once.

Shapes: ``D`` results and ``G`` objects of one (video, category), ``F`` frames
of the video, ``A`` area ranges, ``T`` IoU thresholds, ``R`` recall points,
``K`` categories, ``M`` limits on the number of results.
"""
import gzip
import json
import logging
import math
import os
import zlib
from collections import defaultdict
from numbers import Real
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.logging import print_log
from pycocotools import mask as mask_utils

IOU_THRS = np.linspace(.5, .95, 10)
RECALL_THRS = np.linspace(0, 1, 101)
AREA_RANGES = np.array(  # pixels of the original size, both ends inclusive
    [[0, 1e5**2], [0, 128**2], [128**2, 256**2], [256**2, 1e5**2]])
MAX_DETS = (1, 10, 100)  # per video and category
# pycocotools 2.0.11 with numpy >= 2 overflows above 255 masks in one call.
AREA_CHUNK = 255

PathOrObject = Union[str, os.PathLike, dict, list]
Tube = Sequence[Optional[dict]]


def load_json(source: PathOrObject) -> Union[dict, list]:
    """Read a JSON file, plain or gzipped; loaded objects pass through.

    Args:
        source (str | PathLike | dict | list): Path, or the content itself.

    Returns:
        dict | list: The content.

    Raises:
        ValueError: If the file is not valid JSON.
        OSError: If the file cannot be read.
    """
    if isinstance(source, (dict, list)):
        return source
    opener = gzip.open if str(source).endswith('.gz') else open
    try:
        with opener(source, 'rt', encoding='utf-8') as file:
            return json.load(file)
    except (ValueError, EOFError, zlib.error) as error:
        raise ValueError(f'{source} is not valid JSON: {error}') from error


def evaluate_vis(gt: PathOrObject,
                 results: PathOrObject,
                 *,
                 unknown_category: str = 'drop',
                 return_arrays: bool = False) -> Dict[str, Any]:
    """Evaluate video instance segmentation as youtubevos/cocoapi does.

    Args:
        gt (str | PathLike | dict): Annotations in YouTube-VIS format, as a
            path (``.json`` or ``.json.gz``) or loaded.
        results (str | PathLike | list): Rows with ``video_id``,
            ``category_id``, ``score`` and ``segmentations`` (RLE of the
            original size, or None, per frame), as a path or loaded.
        unknown_category (str): What to do with results of a category that
            ``gt`` does not have: 'drop' (with a warning, as the official
            evaluator does silently) or 'raise'. Defaults to 'drop'.
        return_arrays (bool): Whether to add the official arrays
            ``precision`` (T, R, K, A, M), ``recall`` (T, K, A, M) and
            ``scores`` (T, R, K, A, M); K follows the sorted category ids.
            Defaults to False.

    Returns:
        dict: ``AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm,
        ARl`` in [0, 1], or -1 where no object counts, and ``per_class``: the
        same numbers and the ``name`` by category id.

    Raises:
        ValueError: If there is no ground truth or the input is malformed.
        OSError: If a file cannot be read.
    """
    gt, results = load_json(gt), load_json(results)
    check_ground_truth(gt)
    check_results(gt, results, unknown_category)
    videos = {video['id']: video for video in gt['videos']}
    names = {cat['id']: cat.get('name') for cat in gt['categories']}
    objs, dets = defaultdict(list), defaultdict(list)
    for ann in gt['annotations']:
        objs[ann['category_id'], ann['video_id']].append(ann)
    for row in results:
        dets[row['category_id'], row['video_id']].append(row)

    num_k, num_a, num_m = len(names), len(AREA_RANGES), len(MAX_DETS)
    arrays = dict(
        precision=-np.ones(
            (len(IOU_THRS), len(RECALL_THRS), num_k, num_a, num_m)),
        recall=-np.ones((len(IOU_THRS), num_k, num_a, num_m)))
    arrays['scores'] = arrays['precision'].copy()
    per_class = {}
    for k, category_id in enumerate(sorted(names)):
        matches = [
            _match_video(videos[video_id], dets[category_id, video_id],
                         objs[category_id, video_id])
            for video_id in sorted(videos)
            if dets[category_id, video_id] or objs[category_id, video_id]
        ]
        if matches:
            _accumulate(matches,
                        *(array[..., k, :, :] for array in arrays.values()))
        per_class[category_id] = dict(
            name=names[category_id],
            **_summarise(arrays['precision'][:, :, k:k + 1],
                         arrays['recall'][:, k:k + 1]))
    stats = _summarise(arrays['precision'], arrays['recall'])
    return dict(
        **stats, per_class=per_class, **(arrays if return_arrays else {}))


def check_ground_truth(gt: dict, need_annotations: bool = True) -> None:
    """Refuse annotations that cannot be evaluated on.

    Args:
        gt (dict): Loaded annotation file.
        need_annotations (bool): Whether objects are needed, not just videos
            and categories. Defaults to True.

    Raises:
        ValueError: Naming the first defect.
    """
    if not isinstance(gt, dict):
        raise ValueError('the ground truth must be a dict in YouTube-VIS '
                         f'format, got {type(gt).__name__}')
    for key in ('videos', 'categories'):
        if not gt.get(key):
            raise ValueError(f'the ground truth has no {key}')
        _check_unique_ids(gt[key], key)
    for video in gt['videos']:
        _check_keys(video, ('width', 'height'), f'video {video["id"]}')
        if 'length' not in video and 'file_names' not in video:
            raise ValueError(f'video {video["id"]} needs length or '
                             'file_names, got neither')
    if not need_annotations:
        return
    if not gt.get('annotations'):
        raise ValueError('there is no ground truth: the file has no '
                         'annotations, so nothing can be evaluated')
    _check_unique_ids(gt['annotations'], 'annotations')
    videos = {video['id']: video for video in gt['videos']}
    categories = {category['id'] for category in gt['categories']}
    for ann in gt['annotations']:
        name = f'annotation {ann["id"]}'
        _check_keys(ann, ('video_id', 'category_id', 'segmentations', 'areas'),
                    name)
        if ann['category_id'] not in categories:
            raise ValueError(f'{name} has the unknown category_id '
                             f'{ann["category_id"]!r}')
        _check_tube(ann, videos, name)


def check_results(gt: dict,
                  results: list,
                  unknown_category: str = 'drop') -> None:
    """Refuse results that do not fit their annotation file.

    Args:
        gt (dict): Loaded annotation file; needs videos and categories only.
        results (list): Loaded result rows.
        unknown_category (str): 'drop' warns about categories that ``gt`` does
            not have, 'raise' refuses them. Defaults to 'drop'.

    Raises:
        ValueError: Naming the first row with a defect.
    """
    if unknown_category not in ('drop', 'raise'):
        raise ValueError("unknown_category must be 'drop' or 'raise', got "
                         f'{unknown_category!r}')
    if not isinstance(results, list):
        raise ValueError('results must be a list of rows, got '
                         f'{type(results).__name__}')
    videos = {video['id']: video for video in gt['videos']}
    categories = {category['id'] for category in gt['categories']}
    unknown = set()
    for index, row in enumerate(results):
        name = f'result {index}'
        _check_keys(row, ('video_id', 'category_id', 'score', 'segmentations'),
                    name)
        score = row['score']
        if (not isinstance(score, Real) or isinstance(score, bool)
                or not math.isfinite(score)):
            raise ValueError(
                f'{name} needs a finite number as score, got {score!r}')
        _check_tube(row, videos, name)
        if row['category_id'] not in categories:
            unknown.add(row['category_id'])
            if unknown_category == 'raise':
                raise ValueError(f'{name} has the unknown category_id '
                                 f'{row["category_id"]!r}')
    if unknown:
        print_log(
            'results of categories that the ground truth does not have are '
            f'dropped: {sorted(unknown, key=str)}',
            logger='current',
            level=logging.WARNING)


def _check_keys(row: dict, keys: Sequence[str], name: str) -> None:
    """Raise ValueError unless ``row`` is a dict with all ``keys``."""
    if not isinstance(row, dict):
        raise ValueError(f'{name} must be a dict, got {type(row).__name__}')
    missing = [key for key in keys if key not in row]
    if missing:
        raise ValueError(f'{name} lacks {", ".join(missing)}')


def _check_unique_ids(rows: Sequence[dict], kind: str) -> None:
    """Raise ValueError unless all ``rows`` have an id of their own."""
    seen = set()
    for index, row in enumerate(rows):
        _check_keys(row, ('id', ), f'entry {index} of {kind}')
        if row['id'] in seen:
            raise ValueError(
                f'ids must be unique, got {row["id"]!r} twice in {kind}')
        seen.add(row['id'])


def num_frames_of(video: dict) -> int:
    """Number of frames of a video of the annotation file."""
    return video['length'] if 'length' in video else len(video['file_names'])


def _check_tube(row: dict, videos: Dict[int, dict], name: str) -> None:
    """Raise ValueError unless the masks of ``row`` fit its video."""
    if row['video_id'] not in videos:
        raise ValueError(f'{name} has the unknown video_id '
                         f'{row["video_id"]!r}')
    name = f'{name} (video {row["video_id"]})'
    video, tube = videos[row['video_id']], row['segmentations']
    if not isinstance(tube,
                      (list, tuple)) or len(tube) != num_frames_of(video):
        got = len(tube) if isinstance(tube, (list, tuple)) else tube
        raise ValueError(f'{name} needs one segmentation or null for each of '
                         f'{num_frames_of(video)} frames, got {got}')
    height, width = video['height'], video['width']
    for frame, mask in enumerate(tube):
        if not mask or isinstance(mask, list):  # no mask, or polygons
            continue
        if not isinstance(mask, dict) or not mask.get('counts'):
            raise ValueError(f'{name} needs RLE masks with counts, got '
                             f'{type(mask).__name__} in frame {frame}')
        if list(mask.get('size', ())) != [height, width]:
            raise ValueError(f'{name} needs masks of size [{height}, {width}]'
                             f', got {mask.get("size")} in frame {frame}')


def to_rles(video: dict, row: dict) -> List[Optional[dict]]:
    """Masks of an object or result as compressed RLE, F in number."""
    height, width = video['height'], video['width']
    tube = []
    for mask in row['segmentations']:
        if not mask:
            mask = None
        elif isinstance(mask, list):
            mask = mask_utils.merge(
                mask_utils.frPyObjects(mask, height, width))
        elif isinstance(mask['counts'], list):
            mask = mask_utils.frPyObjects(mask, height, width)
        tube.append(mask)
    return tube


def mask_areas(tubes: Sequence[Tube], num_frames: int) -> np.ndarray:
    """Areas of all masks of several tubes.

    Args:
        tubes (Sequence[Sequence[dict | None]]): N tubes of F compressed RLEs.
        num_frames (int): F, needed when there are no tubes.

    Returns:
        ndarray: Areas in pixels, 0 without a mask, int64, has shape (N, F).
    """
    areas = np.zeros((len(tubes), num_frames), dtype=np.int64)
    filled = [(i, frame) for i, tube in enumerate(tubes)
              for frame, mask in enumerate(tube) if mask]
    for start in range(0, len(filled), AREA_CHUNK):
        chunk = filled[start:start + AREA_CHUNK]
        areas[tuple(zip(*chunk))] = mask_utils.area(
            [tubes[i][frame] for i, frame in chunk])
    return areas


def tube_ious(dets: Sequence[Tube],
              objs: Sequence[Tube],
              det_areas: np.ndarray,
              obj_areas: np.ndarray,
              min_iou: float = 0.) -> np.ndarray:
    """IoU of result tubes with object tubes, exact.

    The sum of the intersections over all frames by the sum of the unions; a
    frame in which one side has no mask adds the other side's area to the
    union.

    Args:
        dets (Sequence[Sequence[dict | None]]): D tubes of F RLEs.
        objs (Sequence[Sequence[dict | None]]): G tubes of F RLEs.
        det_areas (ndarray): Areas in pixels, int64, has shape (D, F).
        obj_areas (ndarray): Areas in pixels, int64, has shape (G, F).
        min_iou (float): Pairs whose areas show that their IoU is below this
            are not computed and get 0. Defaults to 0.

    Returns:
        ndarray: In [0, 1], has shape (D, G).
    """
    sums = det_areas.sum(1)[:, None] + obj_areas.sum(1)
    bounds = np.stack(  # what the areas allow at best, (D, G)
        [np.minimum(det_areas, areas).sum(1) for areas in obj_areas], 1)
    live = bounds >= min_iou * (sums - bounds) - 1
    inters = np.zeros(sums.shape, dtype=np.int64)
    for frame in range(det_areas.shape[1]):
        cols = np.flatnonzero(obj_areas[:, frame])
        rows = np.flatnonzero(det_areas[:, frame] * live[:, cols].any(1))
        cols = cols[live[rows][:, cols].any(0)]
        if not len(rows) or not len(cols):
            continue
        # With every object flagged crowd the result is inter / det area.
        ratios = mask_utils.iou([dets[row][frame] for row in rows],
                                [objs[col][frame] for col in cols],
                                [1] * len(cols))
        inters[rows[:, None], cols] += np.rint(
            ratios * det_areas[rows, frame, None]).astype(np.int64)
    return np.where(live, inters / np.maximum(sums - inters, 1), 0.)


def _match_video(video: dict, dets: List[dict],
                 objs: List[dict]) -> Dict[str, np.ndarray]:
    """Match the results of one (video, category) to its objects.

    Returns:
        dict: ``scores`` (D, ) by falling score, at most ``MAX_DETS[-1]``;
        ``matched`` and ``ignored`` (A, T, D) of the results; ``num_objs``
        (A, ), objects that are not ignored.
    """
    order = np.argsort([-det['score'] for det in dets], kind='mergesort')
    dets = [dets[i] for i in order[:MAX_DETS[-1]]]
    det_tubes = [to_rles(video, det) for det in dets]
    areas = mask_areas(det_tubes, num_frames_of(video))
    num_masks = np.maximum((areas > 0).sum(1), 1)
    outside = _outside(areas.sum(1) / num_masks)  # (A, D)
    crowd = np.array([bool(obj.get('iscrowd')) for obj in objs], dtype=bool)
    obj_ignored = crowd | _outside(
        np.array([_object_area(obj['areas']) for obj in objs]))  # (A, G)

    ious = np.zeros((len(dets), len(objs)))
    if dets and objs:
        obj_tubes = [to_rles(video, obj) for obj in objs]
        ious = tube_ious(det_tubes, obj_tubes, areas,
                         mask_areas(obj_tubes, areas.shape[1]), IOU_THRS[0])
    # The official code marks a match by the object's id: 0 is no match.
    countable = np.array([obj['id'] != 0 for obj in objs], dtype=bool)
    matched, ignored = _match(ious, obj_ignored, crowd, countable)
    ignored |= ~matched & outside[:, None]
    return dict(
        scores=np.array([det['score'] for det in dets], dtype=np.float64),
        matched=matched,
        ignored=ignored,
        num_objs=(~obj_ignored).sum(1))


def _object_area(areas: Sequence[Optional[float]]) -> float:
    """Mean of the areas that are neither None nor 0, in pixels."""
    areas = [area for area in areas if area]
    return np.array(areas).mean() if areas else 0.


def _outside(areas: np.ndarray) -> np.ndarray:
    """Which areas (N, ) lie outside the ranges, bool, has shape (A, N)."""
    low, high = AREA_RANGES.T[..., None]
    return (areas < low) | (areas > high)


def _match(ious: np.ndarray, obj_ignored: np.ndarray, crowd: np.ndarray,
           countable: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Greedy matching for all area ranges and IoU thresholds at once.

    Each result takes the regular object of the highest IoU, the last one
    among equals, and an ignored object only when no regular one reaches the
    threshold. Crowds can be taken any number of times.

    Args:
        ious (ndarray): By falling score, has shape (D, G).
        obj_ignored (ndarray): Bool, has shape (A, G).
        crowd (ndarray): Bool, has shape (G, ).
        countable (ndarray): Whether a match makes a true positive, bool, has
            shape (G, ).

    Returns:
        tuple[ndarray]: Which results match and which took an ignored object,
        both bool, have shape (A, T, D).
    """
    num_dets, num_objs = ious.shape
    shape = (len(AREA_RANGES), len(IOU_THRS), num_dets)
    matched, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    free = np.ones((*shape[:2], num_objs), dtype=bool)
    # Preference of each result: by IoU, the later object among equals.
    ranks = ious.argsort(1, kind='stable').argsort(1) + 1
    prefer_regular = num_objs * ~obj_ignored[:, None]  # (A, 1, G)
    for det in np.flatnonzero((ious >= IOU_THRS[0]).any(1)):
        reached = ious[det] >= IOU_THRS[:, None]  # (T, G)
        keys = (free & reached) * (ranks[det] + prefer_regular)
        best = keys.argmax(-1)  # (A, T)
        a_inds, t_inds = np.nonzero(keys.any(-1))
        taken = best[a_inds, t_inds]
        matched[a_inds, t_inds, det] = countable[taken]
        ignored[a_inds, t_inds, det] = obj_ignored[a_inds, taken]
        free[a_inds, t_inds, taken] = crowd[taken]
    return matched, ignored


def _accumulate(matches: List[Dict[str, np.ndarray]], precision: np.ndarray,
                recall: np.ndarray, scores: np.ndarray) -> None:
    """Fill the arrays of one category from the matches of its videos.

    Args:
        matches (list[dict]): From :func:`_match_video`, by rising video id.
        precision (ndarray): Written in place, has shape (T, R, A, M).
        recall (ndarray): Written in place, has shape (T, A, M).
        scores (ndarray): Written in place, has shape (T, R, A, M).
    """
    num_objs = sum(match['num_objs'] for match in matches)
    for m, max_dets in enumerate(MAX_DETS):
        det_scores, matched, ignored = (
            np.concatenate([match[key][..., :max_dets] for match in matches],
                           axis=-1)
            for key in ('scores', 'matched', 'ignored'))
        order = np.argsort(-det_scores, kind='mergesort')
        # One more place at the end stands for a recall never reached.
        det_scores = np.append(det_scores[order], 0.)
        matched, ignored = matched[..., order], ignored[..., order]
        true_pos = np.cumsum(matched & ~ignored, axis=-1).astype(np.float64)
        false_pos = np.cumsum(~matched & ~ignored, axis=-1)
        precisions = true_pos / (false_pos + true_pos + np.spacing(1))
        precisions = np.maximum.accumulate(precisions[..., ::-1], -1)
        precisions = np.pad(precisions[..., ::-1], [(0, 0), (0, 0), (0, 1)])
        for a in np.flatnonzero(num_objs):
            recalls = true_pos[a] / num_objs[a]
            recall[:, a, m] = recalls[:, -1] if recalls.shape[1] else 0.
            for t, curve in enumerate(recalls):
                inds = np.searchsorted(curve, RECALL_THRS, side='left')
                precision[t, :, a, m] = precisions[a, t, inds]
                scores[t, :, a, m] = det_scores[inds]


def _summarise(precision: np.ndarray, recall: np.ndarray) -> Dict[str, float]:
    """The twelve official numbers from precision and recall arrays."""

    def mean(values: np.ndarray) -> float:
        values = values[values > -1]
        return float(np.mean(values)) if values.size else -1.

    stats = dict(
        AP=mean(precision[..., 0, -1]),
        AP50=mean(precision[0, ..., 0, -1]),
        AP75=mean(precision[5, ..., 0, -1]))
    for area, name in enumerate('sml', 1):
        stats[f'AP{name}'] = mean(precision[..., area, -1])
    for m, max_dets in enumerate(MAX_DETS):
        stats[f'AR{max_dets}'] = mean(recall[..., 0, m])
    for area, name in enumerate('sml', 1):
        stats[f'AR{name}'] = mean(recall[..., area, -1])
    return stats
