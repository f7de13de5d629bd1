# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How well the best tracklet of each object covers it.

Where a video has one labelled object among others, as in DAVIS-2016, average
precision punishes what is found beside it. This number does not look there.

Shapes: ``D`` predicted tracklets and ``G`` objects of one video, ``F`` frames
of the video.
"""
from collections import defaultdict
from typing import Any, Dict, List

import numpy as np

from refinevis_mm.vis_json import (PathOrObject, distinct_tubes, frame_ious,
                                   load_pair, mask_areas, num_frames_of,
                                   to_rles)


def evaluate_best_tracklet(gt: PathOrObject,
                           results: PathOrObject) -> Dict[str, Any]:
    """Mean J of the best tracklet of each object.

    J of a tracklet and an object is the mean of their mask IoU over the
    frames in which the object has a mask; a frame in which the tracklet has
    none counts 0, frames without the object do not count. The best tracklet
    of an object is the one of the highest J; without any tracklet J is 0.

    The choice knows the ground truth, and neither classes nor scores nor what
    else is predicted count: J tells whether the object is found and followed,
    not whether one could tell the right tracklet from the others. Rows of
    categories that ``gt`` does not have are dropped. Crowd annotations are no
    objects.

    Args:
        gt (str | PathLike | dict): Annotations in YouTube-VIS format, as a
            path (``.json`` or ``.json.gz``) or loaded.
        results (str | PathLike | list): Rows as in :func:`evaluate_vis`, as a
            path or loaded.

    Returns:
        dict: ``J`` in [0, 1], the mean over all objects of all videos, and
        ``per_object``, that of each by annotation id.

    Raises:
        ValueError: If there is no ground truth or the input is malformed.
        OSError: If a file cannot be read.
    """
    gt, results = load_pair(gt, results)
    objs, rows = defaultdict(list), defaultdict(list)
    for ann in gt['annotations']:
        if not ann.get('iscrowd'):
            objs[ann['video_id']].append(ann)
    for row in results:
        rows[row['video_id']].append(row)
    per_object = {}
    for video in gt['videos']:
        per_object.update(
            _best_of_video(video, rows[video['id']], objs[video['id']]))
    if not per_object:
        raise ValueError('there is no ground truth: all annotations are '
                         'crowds or have no mask')
    return dict(
        J=float(np.mean(list(per_object.values()))), per_object=per_object)


def _best_of_video(video: dict, rows: List[dict],
                   objs: List[dict]) -> Dict[Any, float]:
    """Highest J of each object of a video by annotation id.

    Args:
        video (dict): From the annotation file.
        rows (list[dict]): Results of the video.
        objs (list[dict]): Its objects; those without a mask are left out.

    Returns:
        dict: In [0, 1].
    """
    num_frames = num_frames_of(video)
    # the classes of a tracklet are rows with the same masks
    dets = distinct_tubes([to_rles(video, row) for row in rows], num_frames)
    tubes = [to_rles(video, obj) for obj in objs]
    areas = mask_areas(tubes, num_frames)
    ious = frame_ious(dets, tubes, mask_areas(dets, num_frames), areas)
    sums = ious.sum(0).max(0, initial=0.)  # (G, )
    return {
        obj['id']: float(total / count)
        for obj, total, count in zip(objs, sums, (areas > 0).sum(1)) if count
    }
