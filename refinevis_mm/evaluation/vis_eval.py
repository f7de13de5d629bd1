# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The YouTube-VIS / OVIS protocol, equal to the official evaluator.

The rules are those of ``ytvoseval.py`` in youtubevos/cocoapi, but for one: it
marks a match by the object's id and no match by 0, so that an object of id 0
is never found; here ids are names only. Intersections are gathered frame by
frame with pycocotools, matching runs over all IoU thresholds and area ranges
at once.

Shapes: ``D`` results and ``G`` objects of one (video, category), ``F`` frames
of the video, ``A`` area ranges, ``T`` IoU thresholds, ``R`` recall points,
``K`` categories, ``M`` limits on the number of results.
"""
import multiprocessing
import os
import os.path as osp
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from typing import (Any, Callable, Dict, Iterable, Iterator, List, NamedTuple,
                    Optional, Sequence, Tuple, Union)

import numpy as np

from refinevis_mm.vis_json import (PathOrObject, Tube, load_json, load_pair,
                                   mask_areas, num_frames_of, to_rles,
                                   tube_covers, tube_ious, tube_key)
from .occlusion import OCCLUSION_LEVELS, has_occlusion, outside_levels

IOU_THRS = np.linspace(.5, .95, 10)
RECALL_THRS = np.linspace(0, 1, 101)
AREA_RANGES = np.array(  # pixels of the original size, both ends inclusive
    [[0, 1e5**2], [0, 128**2], [128**2, 256**2], [256**2, 1e5**2]])
MAX_DETS = (1, 10, 100)  # per video and category

MAX_WORKERS = 4
MIN_PARALLEL_MASKS = 30000  # of results; below, starting processes costs more
CHUNKS_PER_WORKER = 8


class _Job(NamedTuple):
    """Results and objects of one video that may be matched.

    Attributes:
        video (dict): From the annotation file.
        dets (list[dict]): Result rows.
        objs (list[dict]): Annotations.
        with_levels (bool): Whether to match for occlusion levels, too.
        merge_classes (bool): Whether rows of several categories may be one
            tracklet, see :func:`_best_rows`.
        crowd_regions (bool): Whether a row is in a crowd by its own area.
    """
    video: dict
    dets: List[dict]
    objs: List[dict]
    with_levels: bool
    merge_classes: bool
    crowd_regions: bool


Key = Tuple[Any, Any]  # category id, or None for all, and video id
Matches = Dict[str, np.ndarray]  # what _match_video returns

_SHARED_JOBS: List[_Job] = []  # filled in worker processes only


def evaluate_vis(
        gt: PathOrObject,
        results: PathOrObject,
        *,
        unknown_category: str = 'drop',
        return_arrays: bool = False,
        class_agnostic: bool = False,
        crowd_regions: bool = False,
        short_videos: Union[None, int, PathOrObject] = None,
        check_masks: bool = False,
        num_workers: Optional[int] = None,
        progress: Optional[Callable[[int, int],
                                    None]] = None) -> Dict[str, Any]:
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
        class_agnostic (bool): Whether to add ``AP_agnostic`` and so on, all
            categories taken as one. Of rows with the same masks but of
            different categories, which are one tracklet, the best counts.
            Defaults to False.
        crowd_regions (bool): Whether results that match no object and lie in
            a crowd are left out, as COCO's evaluator does with images: their
            share in the crowd, by pixels of all frames, must reach the IoU
            threshold. A crowd is there for results of its own category; mark
            a region in which nothing is labelled with one crowd for each.
            Defaults to False: as in the official evaluator, it is their IoU
            with the crowd that must reach it.
        short_videos (int | str | PathLike | dict, optional): Adds the numbers
            of the short and of the long videos, ``AP_short``, ``AP_long`` and
            so on, as YouTube-VIS 2022 separates them. Either the number of
            frames that a short video has at most, or the annotation file of
            the short videos (for YouTube-VIS 2022 that of 2021), whose frames
            lie in folders of the same names. Defaults to None.
        check_masks (bool): Whether to refuse run-length codes that do not
            cover their frame, which files of unknown origin may have: masks
            like these can keep pycocotools busy for ever. Defaults to False,
            since it may take longer than the evaluation.
        num_workers (int, optional): Processes to share the work with; 0 and 1
            mean this process alone. Defaults to None: one for each processor
            up to 4 for large inputs, where processes can be forked.
        progress (Callable, optional): Called with the number of parts that
            are done and their total. Defaults to None.

    Returns:
        dict: ``AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm,
        ARl`` in [0, 1], or -1 where no object counts, and ``per_class``: the
        same numbers, the ``name``, ``num_objects`` and ``num_results`` by
        category id. Where the annotations
        have ``occlusion`` also ``AP_so``, ``AP_mo`` and ``AP_ho``, the AP of
        slightly, moderately and heavily occluded objects, see
        :mod:`.occlusion`.

    Raises:
        ValueError: If there is no ground truth, the input is malformed or an
            option is not allowed.
        OSError: If a file cannot be read.
    """
    gt, results = load_pair(gt, results, unknown_category, check_masks)
    names = {cat['id']: cat.get('name') for cat in gt['categories']}
    categories = sorted(names)
    video_ids = sorted(video['id'] for video in gt['videos'])
    subsets = {}
    if short_videos is not None:
        subsets = _split_by_length(gt['videos'], short_videos)
    with_levels = has_occlusion(gt['annotations'])
    jobs = _make_jobs(gt, results, with_levels, False, crowd_regions)
    if class_agnostic:
        jobs.update(_make_jobs(gt, results, with_levels, True, crowd_regions))
    matches = dict(
        zip(jobs, _match_all(list(jobs.values()), num_workers, progress)))

    arrays = _accumulate_all(matches, categories, video_ids, with_levels)
    stats = summarise(**arrays)
    if with_levels:
        for level, name in enumerate(OCCLUSION_LEVELS, len(AREA_RANGES)):
            stats[f'AP_{name}'] = _mean(arrays['precision'][..., level, -1])
    for name, ids in subsets.items():
        part = _accumulate_all(matches, categories, ids, with_levels)
        stats.update(add_suffix(summarise(**part), name))
    if class_agnostic:
        part = _accumulate_all(matches, [None], video_ids, with_levels)
        stats.update(add_suffix(summarise(**part), 'agnostic'))
    num_objects, num_results = (
        Counter(row['category_id'] for row in rows)
        for rows in (gt['annotations'], results))
    stats['per_class'] = {
        category_id:
        dict(
            name=names[category_id],
            num_objects=num_objects[category_id],
            num_results=num_results[category_id],
            **summarise(**of_category(arrays, k)))
        for k, category_id in enumerate(categories)
    }
    if return_arrays:
        stats.update({
            name: array[..., :len(AREA_RANGES), :]
            for name, array in arrays.items()
        })
    return stats


def _split_by_length(
        videos: List[dict],
        short_videos: Union[int, PathOrObject]) -> Dict[str, list]:
    """Sorted ids of the short and of the long videos by these names."""
    if isinstance(short_videos, int):
        short = {
            video['id']
            for video in videos if num_frames_of(video) <= short_videos
        }
    else:
        folders = set(map(_folder_of, load_json(short_videos)['videos']))
        short = {
            video['id']
            for video in videos if _folder_of(video) in folders
        }
        if not short:
            raise ValueError('short_videos must name videos of the ground '
                             'truth by the folders of their frames, got none')
    ids = sorted(video['id'] for video in videos)
    return dict(
        short=[i for i in ids if i in short],
        long=[i for i in ids if i not in short])


def _folder_of(video: dict) -> str:
    """Folder of the frames of a video."""
    if not video.get('file_names'):
        raise ValueError('to tell short videos by their folders all videos '
                         f'need file_names, video {video.get("id")!r} has '
                         'none')
    return osp.dirname(video['file_names'][0])


def _make_jobs(gt: dict, results: List[dict], with_levels: bool,
               merge_classes: bool, crowd_regions: bool) -> Dict[Key, _Job]:
    """What has to be matched, by category (None if merged) and video."""
    videos = {video['id']: video for video in gt['videos']}
    groups = defaultdict(lambda: ([], []))
    for part, rows in enumerate((results, gt['annotations'])):
        for row in rows:
            category_id = None if merge_classes else row['category_id']
            groups[category_id, row['video_id']][part].append(row)
    return {
        key:
        _Job(videos[key[1]], *group, with_levels, merge_classes, crowd_regions)
        for key, group in groups.items()
    }


def _match_all(
        jobs: List[_Job], num_workers: Optional[int],
        progress: Optional[Callable[[int, int], None]]) -> List[Matches]:
    """Matches of all jobs, by one process or several."""
    if num_workers is not None and num_workers < 0:
        raise ValueError(
            f'num_workers must not be negative, got {num_workers}')
    num_workers = _usable_workers(jobs, num_workers)
    if num_workers < 2:
        return list(_report(map(_match_video, jobs), len(jobs), progress))
    # Forked processes inherit the jobs, so only the matches are sent.
    with ProcessPoolExecutor(
            num_workers,
            mp_context=multiprocessing.get_context('fork'),
            initializer=_SHARED_JOBS.extend,
            initargs=(jobs, )) as executor:
        found = executor.map(
            _match_shared,
            range(len(jobs)),
            chunksize=1 + len(jobs) // (CHUNKS_PER_WORKER * num_workers))
        return list(_report(found, len(jobs), progress))


def _usable_workers(jobs: List[_Job], num_workers: Optional[int]) -> int:
    """How many processes to use; 0 for the calling one alone."""
    if ('fork' not in multiprocessing.get_all_start_methods()
            or multiprocessing.current_process().daemon):
        return 0
    if num_workers is not None:
        return num_workers
    num_masks = sum(len(job.dets) * num_frames_of(job.video) for job in jobs)
    if num_masks < MIN_PARALLEL_MASKS:
        return 0
    if hasattr(os, 'sched_getaffinity'):
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    return min(os.cpu_count() or 1, MAX_WORKERS)


def _match_shared(index: int) -> Matches:
    """Matches of a job that this process has inherited."""
    return _match_video(_SHARED_JOBS[index])


def _report(
        found: Iterable[Matches], total: int,
        progress: Optional[Callable[[int, int], None]]) -> Iterator[Matches]:
    """Pass matches on and tell how many there were."""
    for done, matches in enumerate(found, 1):
        if progress is not None:
            progress(done, total)
        yield matches


def _match_video(job: _Job) -> Matches:
    """Match the results of a job to its objects.

    Returns:
        dict: ``scores`` (D, ) by falling score, at most ``MAX_DETS[-1]``;
        ``matched`` and ``ignored`` (A, T, D) of the results; ``num_objs``
        (A, ), objects that are not ignored.
    """
    video, objs = job.video, job.objs
    order = np.argsort([-det['score'] for det in job.dets], kind='mergesort')
    dets = [job.dets[i] for i in order]
    if job.merge_classes:
        dets = _best_rows(video, dets)
    dets = dets[:MAX_DETS[-1]]
    det_tubes = [to_rles(video, det) for det in dets]
    areas = mask_areas(det_tubes, num_frames_of(video))
    num_masks = np.maximum((areas > 0).sum(1), 1)
    outside = _outside(areas.sum(1) / num_masks)  # (A, D)
    crowd = np.array([bool(obj.get('iscrowd')) for obj in objs], dtype=bool)
    obj_ignored = crowd | _outside(
        np.array([_object_area(video, obj) for obj in objs]))  # (A, G)
    if job.with_levels:
        levels = outside_levels(objs)
        obj_ignored = np.concatenate([obj_ignored, crowd | levels])
        inside = np.zeros((len(levels), len(dets)), dtype=bool)
        outside = np.concatenate([outside, inside])

    ious = np.zeros((len(dets), len(objs)))
    if dets and objs:
        obj_tubes = [to_rles(video, obj) for obj in objs]
        ious = tube_ious(det_tubes, obj_tubes, areas,
                         mask_areas(obj_tubes, areas.shape[1]), IOU_THRS[0])
        if job.crowd_regions:
            crowds = [obj_tubes[index] for index in np.flatnonzero(crowd)]
            ious[:, crowd] = tube_covers(det_tubes, crowds, areas)
    matched, ignored = _match(ious, obj_ignored, crowd)
    ignored |= ~matched & outside[:, None]
    return dict(
        scores=np.array([det['score'] for det in dets], dtype=np.float64),
        matched=matched,
        ignored=ignored,
        num_objs=(~obj_ignored).sum(1))


def _best_rows(video: dict, dets: List[dict]) -> List[dict]:
    """Leave out rows whose masks a better row of another category has.

    Args:
        video (dict): From the annotation file.
        dets (list[dict]): Result rows by falling score.

    Returns:
        list[dict]: Rows of the same category are all kept.
    """
    tubes: List[Tube] = [to_rles(video, det) for det in dets]
    categories: Dict[tuple, Any] = {}
    kept = []
    for det, tube, areas in zip(dets, tubes,
                                mask_areas(tubes, num_frames_of(video))):
        category_id = det['category_id']
        key = tube_key(tube, areas)
        if categories.setdefault(key, category_id) == category_id:
            kept.append(det)
    return kept


def _object_area(video: dict, obj: dict) -> float:
    """Mean of the areas that are neither None nor 0, in pixels; those of the
    masks where the annotation has none."""
    areas = obj.get('areas')
    if areas is None:
        areas, = mask_areas([to_rles(video, obj)], num_frames_of(video))
    areas = [area for area in areas if area]
    return np.array(areas).mean() if areas else 0.


def _outside(areas: np.ndarray) -> np.ndarray:
    """Which areas (N, ) lie outside the ranges, bool, has shape (A, N)."""
    low, high = AREA_RANGES.T[..., None]
    return (areas < low) | (areas > high)


def _match(ious: np.ndarray, obj_ignored: np.ndarray,
           crowd: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Greedy matching for all area ranges and IoU thresholds at once.

    Each result takes the regular object of the highest IoU, the last one
    among equals, and an ignored object only when no regular one reaches the
    threshold. Crowds can be taken any number of times.

    Args:
        ious (ndarray): By falling score, has shape (D, G).
        obj_ignored (ndarray): Bool, has shape (A, G).
        crowd (ndarray): Bool, has shape (G, ).

    Returns:
        tuple[ndarray]: Which results match and which took an ignored object,
        both bool, have shape (A, T, D).
    """
    num_dets, num_objs = ious.shape
    shape = (len(obj_ignored), len(IOU_THRS), num_dets)
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
        matched[a_inds, t_inds, det] = True
        ignored[a_inds, t_inds, det] = obj_ignored[a_inds, taken]
        free[a_inds, t_inds, taken] = crowd[taken]
    return matched, ignored


def _accumulate_all(matches: Dict[Key, Matches], categories: Sequence[Any],
                    video_ids: Sequence[Any],
                    with_levels: bool) -> Dict[str, np.ndarray]:
    """The official arrays of some categories and videos.

    Args:
        matches (dict): From :func:`_match_video`, by category and video.
        categories (Sequence): K category ids, None for all as one.
        video_ids (Sequence): By rising id.
        with_levels (bool): Whether ``matches`` have occlusion levels, which
            follow the area ranges.

    Returns:
        dict: ``precision`` (T, R, K, A, M), ``recall`` (T, K, A, M) and
        ``scores`` (T, R, K, A, M).
    """
    num_ranges = len(AREA_RANGES) + with_levels * len(OCCLUSION_LEVELS)
    shape = (len(categories), num_ranges, len(MAX_DETS))
    arrays = dict(
        precision=-np.ones((len(IOU_THRS), len(RECALL_THRS), *shape)),
        recall=-np.ones((len(IOU_THRS), *shape)),
        scores=-np.ones((len(IOU_THRS), len(RECALL_THRS), *shape)))
    for k, category_id in enumerate(categories):
        keys = [(category_id, video_id) for video_id in video_ids]
        found = [matches[key] for key in keys if key in matches]
        if found:
            _accumulate(
                found, **{
                    name: array[..., k, :, :]
                    for name, array in arrays.items()
                })
    return arrays


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


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not -1; -1 without any."""
    values = values[values > -1]
    return float(np.mean(values)) if values.size else -1.


def add_suffix(stats: Dict[str, float], suffix: str) -> Dict[str, float]:
    """The same numbers under longer names.

    Args:
        stats (dict[str, float]): Numbers by name.
        suffix (str): Goes behind each name, after an underscore.

    Returns:
        dict[str, float]: A copy.
    """
    return {f'{name}_{suffix}': value for name, value in stats.items()}


def of_category(arrays: Dict[str, np.ndarray],
                index: int) -> Dict[str, np.ndarray]:
    """The arrays of one category.

    Args:
        arrays (dict[str, ndarray]): Of shapes (..., K, A, M).
        index (int): From 0 to K - 1.

    Returns:
        dict[str, ndarray]: Views of shapes (..., 1, A, M).
    """
    return {
        name: array[..., index:index + 1, :, :]
        for name, array in arrays.items()
    }


def summarise(precision: np.ndarray, recall: np.ndarray,
              **_: np.ndarray) -> Dict[str, float]:
    """The twelve official numbers from precision and recall arrays.

    Args:
        precision (ndarray): In [0, 1], or -1 where no object counts, has
            shape (T, R, K, A, M).
        recall (ndarray): The same, has shape (T, K, A, M).

    Returns:
        dict[str, float]: ``AP`` and so on, see :func:`evaluate_vis`.
    """
    stats = dict(
        AP=_mean(precision[..., 0, -1]),
        AP50=_mean(precision[0, ..., 0, -1]),
        AP75=_mean(precision[5, ..., 0, -1]))
    for area, name in enumerate('sml', 1):
        stats[f'AP{name}'] = _mean(precision[..., area, -1])
    for m, max_dets in enumerate(MAX_DETS):
        stats[f'AR{max_dets}'] = _mean(recall[..., 0, m])
    for area, name in enumerate('sml', 1):
        stats[f'AR{name}'] = _mean(recall[..., area, -1])
    return stats
