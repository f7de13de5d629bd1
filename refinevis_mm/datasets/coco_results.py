# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results of a segmenter on the frames of a video, in COCO's form."""
import os.path as osp
import re
from collections import defaultdict
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils
from torch import Tensor

from refinevis_mm.vis_json import MaskError, compress_mask

# Ids below 91 that COCO's 80 classes leave out.
UNUSED_COCO_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
ROW_KEYS = ('category_id', 'segmentation')
MAX_MASKS = 2**32  # pixels of all masks of a frame, a byte each


class CocoResults:
    """Objects by frame, from a results file or an annotation file of COCO.

    In the place of a model: it has the methods of :class:`Segmenter`.

    Each row has ``category_id``, ``segmentation`` (RLE or polygons) and, in
    results, ``score``. Its frame is its ``file_name``, or its ``image_id``:

    - text: the name of the frame's file, with or without folder and suffix;
    - an id of ``images``: the ``file_name`` there; without names, and for
      videos, the place in ``images``;
    - without ``images``, a number: the last one in the names of the frame
      files, where each has one of its own; else, and for videos, the position
      of the frame.

    A frame is called the same in all rows: a file that speaks of several
    videos is refused where their frames have the same names.

    Args:
        content (list | dict): Rows, or ``images``, ``annotations`` and
            ``categories``.
        file_names (Sequence[str], optional): Files of the frames in their
            order; None for a video. Defaults to None.
        images (dict, optional): Content of the file whose images the rows
            speak of: ``images`` and ``categories``. Defaults to None, those
            of ``content``.
        first_id (int): Number of the first frame, where numbers are
            positions. Defaults to 0.
        name (str): What a resumed run recognises the results by. Defaults to
            'results'.

    Attributes:
        classes (list[str]): Class names; labels follow the category ids.
        num_classes (int): Their number.

    Raises:
        ValueError: If the content has another form or a row names no frame.
    """

    def __init__(self,
                 content: Any,
                 file_names: Optional[Sequence[str]] = None,
                 images: Optional[dict] = None,
                 first_id: int = 0,
                 name: str = 'results') -> None:
        self.name = name
        header = content if isinstance(content, dict) else {}
        rows = header.get('annotations') if header else content
        if not isinstance(rows, list):
            raise ValueError('results must be a list of rows, or a dict with '
                             f'"annotations", got {_kind(content)}')
        header = header if images is None else images
        if not isinstance(header, dict):
            raise ValueError('images and categories must be in a dict, got '
                             f'{_kind(header)}')
        _check_rows(rows, 'results', ROW_KEYS)
        _check_scores(rows)
        self._frames = _FrameNames(file_names, header.get('images'), first_id)
        self.classes, self._labels = _read_classes(rows,
                                                   header.get('categories'))
        self.num_classes = len(self.classes)
        self._rows: Dict[int, List[dict]] = defaultdict(list)
        for number, row in enumerate(rows):
            self._rows[self._frames.find(row, number)].append(row)

    @property
    def last_frame(self) -> int:
        """int: Highest frame with objects, -1 if there are none."""
        return max(self._rows, default=-1)

    def segment(self, image: Tensor, meta: dict) -> InstanceData:
        """See :meth:`Segmenter.segment`."""
        masks, scores, labels = (
            torch.from_numpy(value).to(image.device)
            for value in self.frame(meta['frame_id'], *meta['ori_shape'][:2]))
        return InstanceData(masks=masks, scores=scores, labels=labels)

    def frame(self, frame_id: int, height: int,
              width: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Objects of a frame.

        Args:
            frame_id (int): Position of the frame, from 0.
            height (int): Its height in pixels.
            width (int): Its width in pixels.

        Returns:
            tuple[np.ndarray]: Bool masks (n, height, width), float64 scores
            (n, ), 1 where a row has none, and int64 labels (n, ).

        Raises:
            ValueError: If a mask cannot be decoded or has another size.
        """
        rows = self._rows.get(frame_id, [])
        if len(rows) * height * width > MAX_MASKS:
            raise ValueError(f'masks of frame {frame_id} must fit into '
                             f'{MAX_MASKS} bytes, got {len(rows)} of {width} '
                             f'x {height} pixels')
        masks = np.zeros((len(rows), height, width), bool)
        for mask, row in zip(masks, rows):
            mask[:] = _decode(row['segmentation'], height, width, frame_id)
        scores = np.array([row.get('score', 1.) for row in rows], np.float64)
        labels = [self._labels[row['category_id']] for row in rows]
        return masks, scores, np.array(labels, np.int64)


def coco_categories() -> Dict[int, str]:
    """COCO's 80 classes.

    Returns:
        dict[int, str]: Names by category id, ascending as mmdet orders them.
    """
    ids = (i for i in range(1, 91) if i not in UNUSED_COCO_IDS)
    return dict(zip(ids, CocoDataset.METAINFO['classes']))


class _FrameNames:
    """Which frame a row belongs to; see :class:`CocoResults`."""

    def __init__(self, file_names: Optional[Sequence[str]],
                 images: Optional[List[dict]], first_id: int) -> None:
        self.num_frames = None if file_names is None else len(file_names)
        self.first_id = first_id
        self.by_name: Dict[str, Optional[int]] = {}
        for frame, path in enumerate(file_names or []):
            for name in _spellings(str(path)):
                # a spelling of two files names neither
                self.by_name[name] = None if name in self.by_name else frame
        self.by_number = _numbers_of(file_names or [])
        self.images = _read_images(images)
        self.keys: Dict[int, Any] = {}

    def find(self, row: dict, number: int) -> int:
        """Position of a row's frame."""
        key = row.get('file_name', row.get('image_id'))
        frame: Optional[int] = None
        if not (_is_int(key) or isinstance(key, str)):
            pass
        elif key in self.images:
            name, place = self.images[key]
            frame = place if name is None or not self.by_name else \
                self._by_name(name)
        elif isinstance(key, str):
            frame = self._by_name(key)
        elif not self.images:
            frame = self.by_number.get(key) if self.by_number else \
                key - self.first_id
        inside = frame is not None and 0 <= frame and (
            self.num_frames is None or frame < self.num_frames)
        if not inside:
            raise ValueError(f'row {number} of the results must belong to a '
                             f'frame, got {key!r}')
        known = self.keys.setdefault(frame, key)
        if known != key:
            raise ValueError(f'row {number} of the results must belong to a '
                             f'frame of its own, got {key!r} and {known!r} '
                             'for the same one')
        return frame

    def _by_name(self, name: str) -> Optional[int]:
        """Frame of a file name, None if there is none or several."""
        found = (self.by_name.get(text) for text in _spellings(name))
        return next((frame for frame in found if frame is not None), None)


def _spellings(path: str) -> List[str]:
    """A path with and without folder and suffix, each once."""
    path = path.replace('\\', '/')
    base = osp.basename(path)
    return list(dict.fromkeys((path, base, osp.splitext(base)[0])))


def _numbers_of(file_names: Sequence[str]) -> Dict[int, int]:
    """Frames by the last number in their names, if all differ."""
    found = {}
    for frame, path in enumerate(file_names):
        digits = re.findall(r'\d+', osp.splitext(osp.basename(str(path)))[0])
        if not digits or int(digits[-1]) in found:
            return {}
        found[int(digits[-1])] = frame
    return found


def _read_classes(
        rows: List[dict],
        categories: Optional[List[dict]]) -> Tuple[List[str], Dict[int, int]]:
    """Class names, and labels by category id."""
    for number, row in enumerate(rows):
        if not _is_int(row['category_id']):
            raise ValueError(f'row {number} of the results: category_id must '
                             f'be a number, got {row["category_id"]!r}')
    used = {row['category_id'] for row in rows}
    coco = coco_categories()
    if categories is not None:
        _check_rows(categories, 'categories', ('id', 'name'))
        _check_ids(categories, 'categories', int)
        names = {row['id']: str(row['name']) for row in categories}
    elif used <= set(coco):
        names = coco
    else:
        names = {number: f'category {number}' for number in used}
    unknown = used - set(names)
    if unknown:
        raise ValueError('category_id must be one of the categories, got '
                         f'{min(unknown)}')
    ids = sorted(names)
    return [names[i] for i in ids], {i: label for label, i in enumerate(ids)}


def _read_images(
    images: Optional[List[dict]]
) -> Dict[Union[int, str], Tuple[Optional[str], int]]:
    """Name of the file, if there is one, and place by id."""
    if images is None:
        return {}
    _check_rows(images, 'images', ('id', ))
    _check_ids(images, 'images', (int, str))
    found = {}
    for place, image in enumerate(images):
        name = image.get('file_name')
        if not isinstance(name, (str, type(None))):
            raise ValueError(f'row {place} of the images: file_name must be '
                             f'text, got {name!r}')
        found[image['id']] = name, place
    return found


def _check_rows(rows: Any, kind: str, keys: Sequence[str]) -> None:
    """Raise ValueError unless there is a list of dicts with some keys."""
    if not isinstance(rows, list):
        raise ValueError(f'{kind} must be a list, got {_kind(rows)}')
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f'row {number} of the {kind} must be a dict, got '
                             f'{_kind(row)}')
        missing = [key for key in keys if key not in row]
        if missing:
            raise ValueError(f'row {number} of the {kind} must have {keys}, '
                             f'got no {missing[0]}')


def _check_ids(rows: List[dict], kind: str,
               types: Union[type, Tuple[type, ...]]) -> None:
    """Raise ValueError unless all rows have an id of their own."""
    seen = set()
    for number, row in enumerate(rows):
        if not isinstance(row['id'], types) or isinstance(row['id'], bool):
            raise ValueError(f'row {number} of the {kind}: id must be a '
                             f'number{" or text" * (types is not int)}, got '
                             f'{row["id"]!r}')
        if row['id'] in seen:
            raise ValueError(f'ids of the {kind} must differ, got '
                             f'{row["id"]!r} twice')
        seen.add(row['id'])


def _check_scores(rows: List[dict]) -> None:
    """Raise ValueError unless scores are numbers."""
    for number, row in enumerate(rows):
        score = row.get('score', 1.)
        if not (isinstance(score, float)
                or _is_int(score) and abs(score) < 1e9):
            raise ValueError(f'row {number} of the results: score must be a '
                             f'number, got {score!r:.40}')


def _is_int(value: Any) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _decode(segmentation: Any, height: int, width: int,
            frame_id: int) -> np.ndarray:
    """RLE or polygons of a row as an uint8 mask (height, width)."""
    try:
        counts, _ = compress_mask(segmentation, height, width)
    except MaskError as error:
        raise ValueError(f'a mask of frame {frame_id}: {error}') from error
    return mask_utils.decode(dict(size=[height, width], counts=counts))


def _kind(value: Any) -> str:
    """What a value is, in a message."""
    if isinstance(value, dict):
        return f'a dict with the keys {sorted(map(str, value))}'
    return f'a {type(value).__name__}'
