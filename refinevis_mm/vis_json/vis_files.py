# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Annotation and result files in YouTube-VIS form: reading and checking."""
import gzip
import io
import json
import logging
import math
import os
import zlib
from numbers import Real
from typing import (Any, Callable, Collection, List, Optional, Sequence, Tuple,
                    Union)

from mmengine.logging import print_log

from refinevis_mm.storage import read_bytes
from .defects import ERROR, Defect
from .packed_masks import pack_plain_masks
from .validation import ALL_CROWDS, VISChecker, all_crowds, raise_defect

NAMED = 5  # videos in a message
BATCH = 4  # objects whose codes are looked into at once
MAX_PACKED = 100  # times that a packed file may be longer than it is
MIN_UNPACKED = 2**26  # bytes that any may have

PathOrObject = Union[str, os.PathLike, dict, list]


def load_json(source: PathOrObject) -> Union[dict, list]:
    """Read a JSON file, plain or gzipped; loaded objects pass through.

    Args:
        source (str | PathLike | dict | list): Path or address, as
            s3://bucket/valid.json, or the content itself.

    Returns:
        dict | list: The content.

    Raises:
        ValueError: If the file is not valid JSON.
        OSError: If the file cannot be read.
    """
    if isinstance(source, (dict, list)):
        return source
    data = read_bytes(source)
    try:
        return json.loads(unpack_json(data, str(source)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{source} is not valid JSON: {error}') from error


def unpack_json(data: bytes, name: str) -> str:
    """Text of a JSON file, plain or gzipped.

    Args:
        data (bytes): Content of the file.
        name (str): Its name; what ends in .gz is unpacked.

    Returns:
        str: The text.

    Raises:
        ValueError: If it is none, or is packed to less than a hundredth, as
            no annotations are.
    """
    if name.endswith('.gz'):
        limit = max(MAX_PACKED * len(data), MIN_UNPACKED)
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(limit + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(error) from None
        if len(data) > limit:
            raise ValueError(f'it unpacks to more than {limit} bytes; unpack '
                             'it and give the .json if you trust it')
    return data.decode('utf-8-sig')


def check_ground_truth(gt: dict,
                       need_annotations: bool = True,
                       check_masks: bool = False) -> None:
    """Refuse annotations that cannot be evaluated on.

    Args:
        gt (dict): Loaded annotation file; ``length`` may stand for
            ``file_names``.
        need_annotations (bool): Whether objects are needed, not just videos
            and categories. Defaults to True.
        check_masks (bool): Whether to look into run-length codes, see
            :meth:`VISChecker.check_masks`. Defaults to False.

    Raises:
        ValueError: Naming the first error that is found, or that there are no
            videos, categories or objects.
    """
    checker = VISChecker(_refuse_errors('the ground truth'), need_files=False)
    annotations = checker.check_header(gt)
    for key in ('videos', 'categories'):
        if not gt[key]:
            raise ValueError(f'the ground truth has no {key}')
    if not need_annotations:
        return
    if not annotations:
        raise ValueError('there is no ground truth: the file has no '
                         'annotations, so nothing can be evaluated')
    _check_masks(
        checker,
        [(annotation, checker.check_annotation(annotation, position), None)
         for position, annotation in enumerate(annotations)], check_masks)
    if all_crowds(annotations):
        raise ValueError(f'there is no ground truth: {ALL_CROWDS}')


def check_results(gt: dict,
                  results: list,
                  unknown_category: str = 'drop',
                  check_masks: bool = False) -> List[dict]:
    """Refuse results that do not fit their annotation file.

    Args:
        gt (dict): Loaded annotation file; needs videos and categories only.
        results (list): Loaded result rows.
        unknown_category (str): 'drop' warns about categories that ``gt`` does
            not have, 'raise' refuses them. Defaults to 'drop'.
        check_masks (bool): As in :func:`check_ground_truth`. Defaults to
            False.

    Returns:
        list[dict]: The rows without those that are dropped.

    Raises:
        ValueError: Naming the first error that is found, or if
            ``unknown_category`` is none of the two.
    """
    if unknown_category not in ('drop', 'raise'):
        raise ValueError("unknown_category must be 'drop' or 'raise', got "
                         f'{unknown_category!r}')
    if not isinstance(results, list):
        raise ValueError('results must be a list of rows, got '
                         f'{type(results).__name__}')
    refuse, dropped = _refuse_errors('results'), set()

    def report(defect: Defect) -> None:
        if defect.code == 'unknown-category' and unknown_category == 'drop':
            dropped.add(defect.place['result'])
        else:
            refuse(defect)

    checker = VISChecker(lambda defect: None, need_files=False)
    checker.check_header(gt)
    checker.report = report
    _check_masks(checker, [(row, checker.check_result(row, index), index)
                           for index, row in enumerate(results)], check_masks)
    if dropped:
        names = sorted({repr(results[i]['category_id']) for i in dropped})
        print_log(
            'results of categories that the ground truth does not have are '
            f'dropped: {", ".join(names)}',
            logger='current',
            level=logging.WARNING)
    return [row for i, row in enumerate(results) if i not in dropped]


def load_pair(gt: PathOrObject,
              results: PathOrObject,
              unknown_category: str = 'drop',
              check_masks: bool = False) -> Tuple[dict, List[dict]]:
    """Annotations and results that can be evaluated on them.

    Args:
        gt (str | PathLike | dict): Annotations in YouTube-VIS format, as a
            path (``.json`` or ``.json.gz``) or loaded.
        results (str | PathLike | list): Result rows, as a path or loaded.
        unknown_category (str): See :func:`check_results`.
        check_masks (bool): See :func:`check_ground_truth`.

    Returns:
        tuple[dict, list[dict]]: Both, without the rows that are dropped.

    Raises:
        ValueError: See :func:`check_ground_truth` and
            :func:`check_results`.
        OSError: If a file cannot be read.
    """
    loaded: Any = load_json(gt)
    rows: Any = load_json(results)
    check_ground_truth(loaded, check_masks=check_masks)
    return loaded, check_results(loaded, rows, unknown_category, check_masks)


def rows_from(rows: List[dict], score_thr: Optional[float]) -> List[dict]:
    """Result rows from a score on.

    Args:
        rows (list[dict]): Checked result rows.
        score_thr (float, optional): Least score; None for all rows.

    Returns:
        list[dict]: Those of at least this score.

    Raises:
        ValueError: If ``score_thr`` is no finite number.
    """
    if score_thr is None:
        return rows
    if not isinstance(score_thr, Real) or not math.isfinite(score_thr):
        raise ValueError(f'score_thr must be finite, got {score_thr!r}')
    return [row for row in rows if row['score'] >= score_thr]


def missing_results(gt: dict, video_ids: Collection[Any]) -> str:
    """Say which videos have no results, as if nothing was in them.

    Args:
        gt (dict): Loaded annotation file.
        video_ids (Collection): Ids of the videos that have results.

    Returns:
        str: How many there are, with ids and frames of the first; empty if
        all have results.
    """
    missing = [video for video in gt['videos'] if video['id'] not in video_ids]
    if not missing:
        return ''
    names = []
    for video in missing[:NAMED]:
        first, *_ = video.get('file_names', ('no files', ))
        names.append(f'{video["id"]!r} ({first})')
    return (f'{len(missing)} of {len(gt["videos"])} videos have no results: '
            f'video_id {", ".join(names)}{", ..." * (len(missing) > NAMED)}')


def num_frames_of(video: dict) -> int:
    """Number of frames of a video of the annotation file."""
    return video['length'] if 'length' in video else len(video['file_names'])


def _check_masks(checker: VISChecker, items: Sequence[tuple],
                 codes: bool) -> None:
    """Check the masks of (annotation or row, extent of its video, position
    of a row); several at once where all is well."""
    for start in range(0, len(items), BATCH):
        batch = items[start:start + BATCH]
        if codes and pack_plain_masks(
            [item['segmentations']
             for item, *_ in batch], [video
                                      for _, video, _ in batch]) is not None:
            continue
        for item, video, result in batch:
            checker.check_masks(item, video, result, codes)


def _refuse_errors(source: str) -> Callable[[Defect], None]:
    """What raises ValueError at the first error."""

    def refuse(defect: Defect) -> None:
        if defect.level == ERROR:
            raise_defect(defect, source)

    return refuse
