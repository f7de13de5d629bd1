# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How well the objects of videos are found and keep their identity.

HOTA, CLEAR-MOT and IDF1 on the same masks, for the files that
:func:`evaluate_vis` reads. Equal to TrackEval where both read the same masks;
which masks count is said in :func:`evaluate_tracking`.
"""
from collections import defaultdict
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy as np

from refinevis_mm.vis_json import (PathOrObject, distinct_tubes, load_pair,
                                   num_frames_of, rows_from, to_rles)
from .clear_mot import (clear_counts, clear_values, identity_counts,
                        identity_values)
from .hota import ALPHAS, hota_counts, hota_values
from .overlaps import Overlaps, measure_apart, measure_overlaps

CLASSES = ('agnostic', 'wise', 'mots')
RATES = ('hota', 'deta', 'assa', 'detre', 'detpr', 'assre', 'asspr', 'loca',
         'owta')
MOTS = dict(smotsa='smota', motsa='mota', motsp='motp', modsa='moda')


def evaluate_tracking(gt: PathOrObject,
                      results: PathOrObject,
                      classes: str = 'agnostic',
                      score_thr: Optional[float] = None) -> Dict[str, Any]:
    """HOTA, CLEAR-MOT and IDF1 of results.

    Which masks count:

    - Rows below ``score_thr`` and of categories that ``gt`` does not have are
      dropped; scores are not used any further.
    - A mask that is None or empty is absent, and so is an object or a
      tracklet without any other.
    - Crowds are no objects. In a frame, a mask that is matched to no object
      (one to one, IoU of at least 0.5, the highest sum) and of which more
      than half lies in the crowds is left out.
    - All frames count, those without objects, too.

    ``classes`` tells which objects and tracklets may match:

    - 'agnostic': all. Rows of a video with the same masks are one tracklet.
      Tracking apart from classification: the number to look at first.
    - 'wise': those of one category. The main numbers pool the counts of all
      categories; ``hota_class_averaged`` and so on are means over the
      categories that have an object.
    - 'mots': all, of masks that do not overlap, as in `MOTS
      <https://arxiv.org/abs/1902.03604>`_: a pixel is of the tracklet of the
      highest score, and of the first object.

    Args:
        gt (str | PathLike | dict): Annotations in YouTube-VIS format, as a
            path (``.json`` or ``.json.gz``) or loaded.
        results (str | PathLike | list): Rows as in :func:`evaluate_vis`, as a
            path or loaded.
        classes (str): 'agnostic', 'wise' or 'mots'. Defaults to 'agnostic'.
        score_thr (float, optional): Least score of a row. Defaults to None,
            all rows.

    Returns:
        dict: Fractions, means over 19 thresholds of localisation:

        - ``hota``, of detection ``deta``, ``detre``, ``detpr``, of
          association ``assa``, ``assre``, ``asspr``, of localisation
          ``loca``, and ``owta``; ``hota0`` and ``loca0`` at the lowest.
        - ``mota``, ``moda``, ``motp``, ``smota``, see :func:`clear_values`
          ('mots': also as ``motsa``, ``modsa``, ``motsp``, ``smotsa``);
          ``idf1``, ``idp``, ``idr``.

        Counts, see :func:`clear_counts` and :func:`identity_counts`.

        ``alphas`` and ``per_alpha``, lists of 19; ``per_video``, the same
        numbers by video id, ``mota`` and the like 0 without an object;
        'wise': ``per_class`` by category id, with the ``name``;
        ``settings``, how it was measured.

    Raises:
        ValueError: If there is no ground truth, the input is malformed or an
            option is not allowed.
        OSError: If a file cannot be read.
    """
    if classes not in CLASSES:
        raise ValueError(f'classes must be one of {CLASSES}, got {classes!r}')
    truth, rows = load_pair(gt, results)
    rows = rows_from(rows, score_thr)
    names = {cat['id']: cat.get('name') for cat in truth['categories']}
    per_video, per_class = {}, defaultdict(list)
    for video, anns, dets in _videos(truth, rows):
        counts = _count_video(video, anns, dets, classes)
        per_video[video['id']] = add_counts(counts.values())
        for category_id, numbers in counts.items():
            per_class[category_id].append(numbers)
    total = add_counts(per_video.values())
    if not total['num_gt']:
        raise ValueError('there is no ground truth: all annotations are '
                         'crowds or have no mask')
    stats = dict(
        rates(total),
        alphas=ALPHAS.tolist(),
        per_alpha={
            name: values.tolist()
            for name, values in hota_values(total).items()
        },
        per_video={
            video_id: rates(counts)
            for video_id, counts in per_video.items()
        },
        settings=dict(
            classes=classes,
            score_thr=score_thr,
            crowds='unmatched results more than half in crowds are left out'))
    for numbers in stats['per_video'].values():
        if not numbers['num_gt']:  # as TrackEval has it
            numbers.update(dict.fromkeys(clear_values(total), 0.))
    if classes == 'mots':
        for part in (stats, *stats['per_video'].values()):
            part.update({name: part[old] for name, old in MOTS.items()})
    if classes == 'wise':
        stats['per_class'] = {
            category_id:
            dict(name=name, **rates(add_counts(per_class[category_id])))
            for category_id, name in names.items()
        }
        with_gt = [
            numbers for numbers in stats['per_class'].values()
            if numbers['num_gt']
        ]
        stats.update({
            f'{key}_class_averaged':
            float(np.mean([numbers[key] for numbers in with_gt]))
            for key, value in rates(total).items() if isinstance(value, float)
        })
        stats['settings']['averaged'] = 'counts of all categories'
    return stats


def rates(counts: Dict[str, Any]) -> Dict[str, float]:
    """All numbers of summed counts.

    Args:
        counts (dict): See :func:`add_counts`.

    Returns:
        dict: Fractions as float, counts as int.
    """
    alphas = hota_values(counts)
    numbers = {name: float(alphas[name].mean()) for name in RATES}
    numbers.update(
        hota0=float(alphas['hota'][0]),
        loca0=float(alphas['loca'][0]),
        **clear_values(counts),
        **identity_values(counts))
    numbers.update({
        name: value
        for name, value in counts.items() if isinstance(value, int)
    })
    return numbers


def add_counts(parts: Iterable[dict]) -> Dict[str, Any]:
    """Sums of the counts of videos or categories.

    Args:
        parts (Iterable[dict]): What :func:`hota_counts`,
            :func:`clear_counts` and :func:`identity_counts` gave.

    Returns:
        dict: The same names; those of nothing at all for no parts.
    """
    parts = list(parts) or [_count(_nothing())]
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def _videos(gt: dict,
            rows: List[dict]) -> Iterator[Tuple[dict, List[dict], List[dict]]]:
    """Each video with its annotations and its results, in file order."""
    anns: Dict[Any, list] = defaultdict(list)
    dets: Dict[Any, list] = defaultdict(list)
    for groups, items in ((anns, gt['annotations']), (dets, rows)):
        for item in items:
            groups[item['video_id']].append(item)
    for video in gt['videos']:
        yield video, anns[video['id']], dets[video['id']]


def _count_video(video: dict, anns: List[dict], rows: List[dict],
                 classes: str) -> Dict[Any, dict]:
    """Counts of a video, by category id or None for all."""
    num_frames = num_frames_of(video)
    if classes == 'mots':
        rows = sorted(rows, key=lambda row: -row['score'])
    # tubes of annotations, of crowds and of results, by category
    groups: Dict[Any, Tuple[list, list,
                            list]] = defaultdict(lambda: ([], [], []))
    for item in anns:
        key = item['category_id'] if classes == 'wise' else None
        groups[key][bool(item.get('iscrowd'))].append(to_rles(video, item))
    for item in rows:
        key = item['category_id'] if classes == 'wise' else None
        groups[key][2].append(to_rles(video, item))
    counts = {}
    for key, (objs, crowds, dets) in groups.items():
        if classes == 'mots':
            overlaps = measure_apart(objs, crowds, dets, num_frames,
                                     (video['height'], video['width']))
        else:
            if classes == 'agnostic':
                dets = distinct_tubes(dets, num_frames)
            overlaps = measure_overlaps(objs, crowds, dets, num_frames)
        counts[key] = _count(overlaps)
    return counts


def _count(overlaps: Overlaps) -> Dict[str, Any]:
    """All counts of a video."""
    return {
        **hota_counts(*overlaps),
        **clear_counts(*overlaps),
        **identity_counts(*overlaps)
    }


def _nothing() -> Overlaps:
    """A video without objects and results."""
    return measure_overlaps([], [], [], 1)
