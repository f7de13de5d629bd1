# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Checks of a YouTube-VIS JSON; every message names the video and annotation.

Null rules: ``annotations`` may be missing or null (test splits); inside an
annotation a null segmentation means that the object is absent in the frame.
"""
from typing import Dict, Iterable, Optional

_VIDEO_KEYS = ('id', 'width', 'height', 'file_names')
_ANNOTATION_KEYS = ('id', 'video_id', 'category_id', 'segmentations')
_PER_FRAME_KEYS = ('segmentations', 'bboxes', 'areas')


def validate_vis_json(content: dict, source: str) -> None:
    """Check a loaded YouTube-VIS JSON.

    Args:
        content (dict): The JSON's content.
        source (str): File name for the messages.

    Raises:
        ValueError: On the first defect, naming the video and annotation.
    """
    if not isinstance(content, dict):
        raise ValueError(f'{source}: expected a JSON object, but got '
                         f'{type(content).__name__}')
    _require(content, ('videos', 'categories'), source)
    categories = _index(content['categories'], ('id', 'name'),
                        f'{source}: category')
    names = [category['name'] for category in content['categories']]
    if len(set(names)) < len(names):
        raise ValueError(f'{source}: category names must differ, but got '
                         f'{names}')
    videos = _index(content['videos'], _VIDEO_KEYS, f'{source}: video')
    for video in content['videos']:
        _check_video(video, f"{source}: video {video['id']}")
    annotations = content.get('annotations') or []
    _index(annotations, _ANNOTATION_KEYS, f'{source}: annotation')
    for annotation in annotations:
        place = (f"{source}: video {annotation['video_id']}, annotation "
                 f"{annotation['id']}")
        video = videos.get(annotation['video_id'])
        if video is None:
            raise ValueError(f'{place}: there is no such video')
        if annotation['category_id'] not in categories:
            raise ValueError(
                f"{place}: category_id {annotation['category_id']} is not "
                f'among the categories {sorted(categories)}')
        _check_annotation(annotation, video, place)


def _require(item: dict, keys: Iterable[str], place: str) -> None:
    """Raise if one of ``keys`` is missing."""
    for key in keys:
        if key not in item:
            raise ValueError(f"{place}: key '{key}' is missing")


def _index(items: list, keys: Iterable[str], place: str) -> Dict[int, dict]:
    """Items by id; raises on missing keys and on ids used twice."""
    if not isinstance(items, list):
        raise ValueError(f'{place}: expected a list, but got '
                         f'{type(items).__name__}')
    index: Dict[int, dict] = {}
    for position, item in enumerate(items):
        if not isinstance(item, dict):
            raise ValueError(f'{place} at position {position}: expected an '
                             f'object, but got {type(item).__name__}')
        number = item.get('id', f'at position {position}')
        video = f" of video {item['video_id']}" if 'video_id' in item else ''
        _require(item, keys, f'{place} {number}{video}')
        if item['id'] in index:
            raise ValueError(f'{place} {number}{video}: the id is used twice')
        index[item['id']] = item
    return index


def _check_video(video: dict, place: str) -> None:
    """Check size, frame list and length of one video."""
    names = video['file_names']
    if not isinstance(names, list) or not names:
        raise ValueError(f'{place}: file_names must be a list of at least one '
                         f'frame, but got {names!r}')
    for key in ('width', 'height'):
        if not isinstance(video[key], int) or video[key] < 1:
            raise ValueError(f'{place}: {key} must be a positive integer, but '
                             f'got {video[key]!r}')
    length = video.get('length', len(names))
    if length != len(names):
        raise ValueError(f'{place}: length is {length}, but file_names has '
                         f'{len(names)} entries')


def _check_annotation(annotation: dict, video: dict, place: str) -> None:
    """Check the per-frame lists of one annotation against its video."""
    length = len(video['file_names'])
    for key in _PER_FRAME_KEYS:
        values = annotation.get(key)
        if values is None and key != 'segmentations':
            continue
        if not isinstance(values, list) or len(values) != length:
            got = len(values) if isinstance(values, list) else values
            raise ValueError(f'{place}: {key} must have one entry for each of '
                             f'the {length} frames, but got {got}')
    height, width = video['height'], video['width']
    for frame, mask in enumerate(annotation['segmentations']):
        if mask is None:
            continue
        error = _mask_error(mask, height, width)
        if error is not None:
            raise ValueError(f'{place}, frame {frame}: {error}')
    for frame, box in enumerate(annotation.get('bboxes') or []):
        if box is not None and len(box) != 4:
            raise ValueError(f'{place}, frame {frame}: a box is (x, y, w, h), '
                             f'but got {box}')


def _mask_error(mask: object, height: int, width: int) -> Optional[str]:
    """What is wrong with one segmentation, or None."""
    if isinstance(mask, list):
        if all(isinstance(p, list) and len(p) >= 6 for p in mask):
            return None
        return 'a polygon needs at least 3 points'
    if not isinstance(mask, dict) or 'size' not in mask or ('counts'
                                                            not in mask):
        return ("a mask must be null, polygons or RLE with 'size' and "
                f"'counts', but got {type(mask).__name__}")
    if list(mask['size']) != [height, width]:
        return (f"mask size is {list(mask['size'])}, but the video's "
                f'(height, width) is {[height, width]}')
    counts = mask['counts']
    if isinstance(counts, list):
        total = sum(counts)
        if total != height * width:
            return (f'RLE counts cover {total} pixels, but the frame has '
                    f'{height * width}')
    elif not isinstance(counts, str):
        return f'RLE counts must be list or str, but got {type(counts)}'
    return None
