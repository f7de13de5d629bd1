# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From a pattern, a list or a manifest to the videos of a fleet."""
import glob
import json
import os.path as osp
import re
from typing import Any, Dict, List, Optional, Sequence

from refinevis_mm.apis import SOURCE_OPTIONS
from refinevis_mm.storage import is_address, join, list_folder, read_bytes
from refinevis_mm.structures import check_form
from refinevis_mm.video_io import parse_position
from .video_unit import VideoUnit, check_names

LISTS = ('.txt', '.lst')
MANIFESTS = ('.json', '.jsonl')
KEYS = ('input', 'name', *SOURCE_OPTIONS)
# form of the values of an item; those of start and end have their own rule
FORMS: Dict[str, type] = dict(
    name=str, fps=float, stride=int, max_size=int, allow_damaged=bool)
DEFAULTS: Dict[str, Any] = dict(
    dict.fromkeys(SOURCE_OPTIONS), stride=1, allow_damaged=False)


def read_units(inputs: str, options: Optional[dict] = None) -> List[VideoUnit]:
    """List the videos of a fleet.

    =================  ======================================================
    ``inputs``         the videos are
    =================  ======================================================
    glob pattern       the files and folders it stands for; their names begin
                       where the pattern has its first sign
    ``.txt``, ``.lst`` the lines, without empty ones and those that begin
                       with ``#``
    ``.json``          the items of a list, or of ``videos`` in a dict
    ``.jsonl``         the lines, each an item
    all else           one video
    =================  ======================================================

    An item of a manifest is a dict with ``input`` and, where wanted, ``name``
    and the options ``fps``, ``start``, ``end``, ``stride``, ``max_size`` and
    ``allow_damaged`` of :func:`open_source`, which go before ``options``.
    Inputs of a list or manifest are relative to its folder. A name that is
    not given is that of the file without its suffix, or of the folder.

    Args:
        inputs (str): Path or address, see above.
        options (dict, optional): Options of :func:`open_source` for videos
            that do not have their own. Defaults to None.

    Returns:
        list[:obj:`VideoUnit`]: By name.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If there is no video, an item has another form or an
            unknown option, or names cannot be folders beside each other.
    """
    suffix = osp.splitext(inputs)[1].lower()
    if glob.has_magic(inputs) and not osp.exists(inputs):
        items = _of_pattern(inputs)
    elif suffix in LISTS:
        items = _of_list(inputs)
    elif suffix in MANIFESTS:
        items = _of_manifest(inputs)
    else:
        items = [dict(input=inputs)]
    units = [_unit(item, options or {}) for item in items]
    check_names(units)
    return sorted(units, key=lambda unit: unit.name)


def share_of(units: Sequence[VideoUnit], index: int,
             number: int) -> List[VideoUnit]:
    """The videos of one task out of several.

    Args:
        units (Sequence[:obj:`VideoUnit`]): All videos.
        index (int): The task, in [0, number).
        number (int): Number of tasks.

    Returns:
        list[:obj:`VideoUnit`]: Every ``number``-th video, from number
        ``index`` on.
    """
    return list(units[index::number])


def _of_pattern(pattern: str) -> List[dict]:
    """What a glob pattern stands for."""
    if is_address(pattern):
        found = list_folder(pattern)
    else:
        found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise FileNotFoundError(f'pattern "{pattern}" stands for no video')
    fixed = re.split(r'[*?[]', pattern)[0]
    start = fixed.rfind('/') + 1
    return [
        dict(input=path, name=_without_suffix(path, path[start:].rstrip('/')))
        for path in found
    ]


def _of_list(path: str) -> List[dict]:
    """The lines of a list."""
    lines = [line.strip() for line in _read_text(path).splitlines()]
    items = [
        dict(input=_beside(path, line)) for line in lines
        if line and not line.startswith('#')
    ]
    if not items:
        raise ValueError(f'list "{path}" has no videos')
    return items


def _of_manifest(path: str) -> List[dict]:
    """The items of a manifest."""
    text = _read_text(path)
    try:
        if path.lower().endswith('.jsonl'):
            content: Any = [
                json.loads(line) for line in text.splitlines() if line.strip()
            ]
        else:
            content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'manifest "{path}" is no JSON: {error}') from None
    if isinstance(content, dict):
        unknown = [key for key in content if key != 'videos']
        if unknown:
            raise ValueError(f'manifest "{path}" has the unknown key '
                             f'"{unknown[0]}"; there is "videos"')
        content = content.get('videos')
    if not isinstance(content, list) or not content:
        raise ValueError(f'manifest "{path}" must be a list of videos, or a '
                         'dict with the list "videos"')
    items = []
    for number, item in enumerate(content):
        what = f'video {number} of manifest "{path}"'
        if not isinstance(item, dict) or not isinstance(
                item.get('input'), str):
            raise ValueError(f'{what} must be a dict with the text "input", '
                             f'got {item!r:.80}')
        for key, value in item.items():
            if key not in KEYS:
                raise ValueError(f'{what} has the unknown option "{key}"; '
                                 f'there are {", ".join(KEYS)}')
            if key == 'input':
                continue
            if key in FORMS:
                check_form(value, (None, FORMS[key]), f'{key} of {what}')
            elif value is not None:  # what open_source would say, but early
                parse_position(value, f'{key} of {what}')
        items.append(dict(item, input=_beside(path, item['input'])))
    return items


def _unit(item: dict, options: dict) -> VideoUnit:
    """A video of an item, with the options of all."""
    name = item.get('name')
    if name is None:
        path = item['input']
        if is_address(path):  # what signs it is no name
            path = path.split('?')[0]
        name = _without_suffix(item['input'], path.rstrip('/').split('/')[-1])
    own = {
        key: item[key]
        for key in SOURCE_OPTIONS if item.get(key) is not None
    }
    merged = {**options, **own}
    path = item['input']
    if not is_address(path):  # workers may run in another folder
        path = osp.abspath(path)
    return VideoUnit(
        name, path, {
            key: merged[key]
            for key in SOURCE_OPTIONS
            if key in merged and merged[key] != DEFAULTS[key]
        })


def _read_text(path: str) -> str:
    """Text of a list or manifest."""
    try:
        return read_bytes(path).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'"{path}" is no text: {error}') from None


def _beside(path: str, name: str) -> str:
    """An input that a list or manifest names."""
    if is_address(name) or osp.isabs(name):
        return name
    folder = path.rpartition('/')[0]
    return join(folder, name) if folder else name


def _without_suffix(path: str, name: str) -> str:
    """A name without the suffix of a file; folders and 0.5 have none."""
    if osp.isdir(path):
        return name
    return re.sub(r'(?<=[^/.])\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{2,5}$', '', name)
