# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Annotation and result files in YouTube-VIS form: reading and checking."""
import gzip
import json
import logging
import math
import os
import zlib
from numbers import Real
from typing import Dict, List, Optional, Sequence, Union

import numpy as np
from mmengine.logging import print_log

from refinevis_mm.datasets.rle import sum_codes

PathOrObject = Union[str, os.PathLike, dict, list]
COUNTS_TYPES = (str, bytes, list)


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


def check_codes(gt: dict, rows: List[dict], kind: str) -> None:
    """Refuse run-length codes that do not cover their frame.

    pycocotools does not notice them; comparing such masks may never end.

    Args:
        gt (dict): Loaded annotation file that has been checked.
        rows (list[dict]): Annotations or results that have been checked.
        kind (str): What the rows are called in the message.

    Raises:
        ValueError: Naming the first row with a broken code.
    """
    videos = {video['id']: video for video in gt['videos']}
    for index, row in enumerate(rows):
        video = videos[row['video_id']]
        num_pixels = video['height'] * video['width']
        codes, totals = [], []
        for mask in row['segmentations']:
            if isinstance(mask, dict) and mask:
                counts = mask['counts']
                if isinstance(counts, list):
                    totals.append(sum(counts))
                else:
                    codes.append(
                        counts if isinstance(counts, str) else counts.decode())
        name = f'{kind} {row.get("id", index)} (video {row["video_id"]})'
        try:
            sums = sum_codes(''.join(codes).encode('ascii'),
                             np.array([len(code) for code in codes], np.int64))
        except ValueError as error:
            raise ValueError(f'{name} has a broken mask: {error}') from error
        totals += sums.totals.tolist()
        wrong = [total for total in totals if total != num_pixels]
        if wrong or (sums.lowest < 0).any():
            raise ValueError(f'{name} has a broken mask: its counts must '
                             f'cover {num_pixels} pixels, got {wrong[:1]}')


def num_frames_of(video: dict) -> int:
    """Number of frames of a video of the annotation file."""
    return video['length'] if 'length' in video else len(video['file_names'])


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
    size = [video['height'], video['width']]
    if _are_plain(tube, size):
        return
    for frame, mask in enumerate(tube):
        if not mask or isinstance(mask, list):  # no mask, or polygons
            continue
        if not isinstance(mask, dict) or not mask.get('counts'):
            raise ValueError(f'{name} needs RLE masks with counts, got '
                             f'{type(mask).__name__} in frame {frame}')
        if not isinstance(mask['counts'], COUNTS_TYPES):
            raise ValueError(f'{name} needs RLE counts as text or list, got '
                             f'{mask["counts"]!r} in frame {frame}')
        if list(mask.get('size', ())) != size:
            raise ValueError(f'{name} needs masks of size {size}'
                             f', got {mask.get("size")} in frame {frame}')


def _are_plain(tube: Sequence[Optional[dict]], size: List[int]) -> bool:
    """Whether all masks are RLE of this size; the fast way through."""
    masks = [mask for mask in tube if mask]
    try:
        sizes = [mask['size'] for mask in masks]
        counts = [mask['counts'] for mask in masks]
    except (TypeError, KeyError):
        return False
    return (sizes.count(size) == len(masks) and all(counts)
            and set(map(type, counts)) <= set(COUNTS_TYPES))
