# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results of a fleet as one results file, for evaluation."""
import json
import logging
import posixpath
from typing import Any, Dict, List, Optional

from mmengine.logging import print_log

from refinevis_mm.vis_json import match_classes
from .fleet_folder import FleetFolder

FILE = 'results.json'


def load_fleet_results(out: str, gt: dict) -> List[dict]:
    """Gather the results of the videos of an annotation file.

    The results of a video are those whose name is the folder of its frames,
    or the last part of that. Classes are found by their names.

    Args:
        out (str): Folder or address of a fleet whose outputs have 'results'.
        gt (dict): Annotations in YouTube-VIS form.

    Returns:
        list[dict]: Result rows, with the ids of ``gt``; none for videos that
        failed.

    Raises:
        FileNotFoundError: If no fleet has come to its end in ``out``.
        OSError: If a file cannot be read.
        ValueError: If a file is damaged, there are no results of any video,
            or the classes are not those of ``gt``.
    """
    folder = FleetFolder(out)
    records = {video['name']: video for video in folder.manifest()['videos']}
    rows: List[dict] = []
    found = set()
    for video in gt['videos']:
        name = _name_in(records, video)
        if name is None:
            continue
        if FILE not in records[name]['files']:
            raise ValueError(f'"{out}" must have the output "results" of its '
                             f'videos, "{name}" has '
                             f'{", ".join(records[name]["files"])}')
        found.add(name)
        ids = _category_ids(records[name]['classes'], gt)
        what = f'{FILE} of "{name}" in "{out}"'
        try:
            content: Any = json.loads(folder.read(name, FILE))
            rows += [
                dict(
                    row,
                    video_id=video['id'],
                    category_id=_category_id(row['category_id'], ids))
                for row in content
            ]
        except (ValueError, RecursionError, TypeError, KeyError) as error:
            raise ValueError(f'{what} is damaged: {error!r}') from None
    if not found:
        first = next(iter(records), 'nothing')
        raise ValueError(f'"{out}" has no results of the annotated videos; it '
                         f'has {first}, they have the frames '
                         f'{gt["videos"][0].get("file_names", ["?"])[0]}')
    others = len(records) - len(found)
    if others:
        print_log(
            f'{others} of {len(records)} videos in "{out}" are not annotated',
            logger='current',
            level=logging.WARNING)
    return rows


def _name_in(records: Dict[str, dict], video: dict) -> Optional[str]:
    """Name of the results of an annotated video."""
    files = video.get('file_names')
    folder = posixpath.dirname(files[0].replace('\\', '/')) if files else ''
    for name in (folder, posixpath.basename(folder)):
        if name in records:
            return name
    return None


def _category_id(number: int, ids: List[int]) -> int:
    """Category id of label ``number - 1``; a label without a name gets one
    that evaluation does not know, and says so."""
    if number < 1:
        raise ValueError(f'category_id must be positive, got {number}')
    return ids[number - 1] if number <= len(ids) else max(ids) + number


def _category_ids(classes: List[str], gt: dict) -> List[int]:
    """Category id of each label."""
    ids = {category['name']: category['id'] for category in gt['categories']}
    match = match_classes(classes, ids)
    if match is None:
        raise ValueError('the classes of the model must be the categories of '
                         f'the annotations, {list(ids)}, got {classes}')
    return [ids[match[name]] for name in classes]
