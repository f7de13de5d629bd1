# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The rules of the YouTube-VIS form, for readers, validator and evaluator.

Null rules: ``annotations`` may be missing or null (test splits); inside an
annotation a null segmentation means that the object is absent in the frame,
and its box is null then, too.
"""
import math
import re
from array import array
from numbers import Integral
from typing import (Any, Callable, Container, Dict, Iterable, List, NamedTuple,
                    NoReturn, Optional, Sequence, Set, Union)

import numpy as np

from refinevis_mm.structures import MAX_PIXELS
from .defects import Defect
from .packed_masks import (PackedMasks, is_number, pack_masks,
                           pack_plain_masks, without_points)

PER_FRAME_KEYS = ('segmentations', 'bboxes', 'areas')
BOX_TOLERANCE = 0.01  # pixels, boxes are written with few decimals
AREA_TOLERANCE = 0.01  # share of the area, beside one pixel
# A legal character on Linux, but no data set has it in names unless it was
# written on Windows.
BACKSLASH = ('file names must have / between folders, but got {!r} with a '
             'backslash, as Windows writes it; it must be replaced in the '
             'JSON')
CROWD_HINT = (
    "crowds (iscrowd 1) are no objects; if the masks of CVAT's brush or the "
    'like are meant, iscrowd must be 0 (--crowds-as-objects of the '
    'converters)')
ALL_CROWDS = ('all annotations are crowds, so there is nothing to learn from '
              f'or to evaluate; {CROWD_HINT}')


class VideoSize(NamedTuple):
    """Extent of a video: height and width in pixels, number of frames."""
    height: int
    width: int
    length: int


class ObjectTracks(NamedTuple):
    """n masks of some annotations, and their boxes.

    Attributes:
        masks (PackedMasks): Masks that have pixels; their owners are positions
            among the annotations.
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels inside the frame, NaN
            where the annotation has no usable box. Float64, (n, 4).
    """
    masks: PackedMasks
    boxes: np.ndarray


class VISChecker:
    """Checks a data set or its results, piece by piece.

    Start with :meth:`check_header`, then give it the annotations in the order
    of the file.

    Args:
        report (Callable): Called with each :obj:`Defect`. The reader raises
            there, the validator collects.
        need_files (bool): Whether videos need ``file_names``. Defaults to
            True. False takes ``length`` in their place, for who reads no
            frames.

    Attributes:
        videos (dict[int, VideoSize]): Extent of each usable video by id.
        category_ids (set[int]): Ids of the categories.
    """

    def __init__(self,
                 report: Callable[[Defect], None],
                 need_files: bool = True) -> None:
        self.report = report
        self.need_files = need_files
        self.videos: Dict[int, VideoSize] = {}
        self.category_ids: Set[int] = set()
        self._video_ids: Set[int] = set()
        self._annotation_ids: Set[int] = set()
        self._results: Dict[tuple, int] = {}

    def check_header(self, content: Any) -> List[dict]:
        """Check the categories and videos of a JSON.

        Args:
            content (Any): The loaded JSON.

        Returns:
            list[dict]: Its annotations, still to be checked.
        """
        if not isinstance(content, dict):
            self._add(
                'wrong-type', 'expected a JSON object, but got '
                f'{type(content).__name__}')
            return []
        lists = {}
        for key in ('categories', 'videos', 'annotations'):
            if key not in content and key != 'annotations':
                self._add('missing-key', f"key '{key}' is missing")
            value = content.get(key)
            lists[key] = value if isinstance(value, list) else []
            absent = key not in content or (value is None
                                            and key == 'annotations')
            if not absent and not isinstance(value, list):
                self._add(
                    'wrong-type', f'{key} must be a list, but got '
                    f'{type(value).__name__}')
        self._check_categories(lists['categories'])
        self._check_videos(lists['videos'])
        return lists['annotations']

    def check_annotation(self, annotation: Any,
                         position: int) -> Optional[VideoSize]:
        """Check all of an annotation but the content of its masks and boxes.

        Args:
            annotation (Any): The entry of the JSON.
            position (int): 0-based position in the JSON, which names
                annotations without id.

        Returns:
            VideoSize, optional: Extent of its video, None if the defects
            leave nothing to be read.
        """
        if not self._is_object(
                annotation, annotation=f'at position {position}'):
            return None
        place = _place_of(annotation, f'at position {position}')
        complete = self._has_keys(
            annotation, ('id', 'video_id', 'category_id', 'segmentations'),
            place)
        self._check_id(annotation, self._annotation_ids, place)
        self._check_category(annotation, place)
        if annotation.get('iscrowd', 0) not in (0, 1):
            self._add(
                'iscrowd', 'iscrowd must be 0 or 1, but got '
                f'{annotation["iscrowd"]!r}', place)
        video = self._video_of(annotation, place, self._video_ids)
        if video is None or not complete:
            return None
        for key, value in zip(VideoSize._fields, video):
            if annotation.get(key, value) != value:
                code = 'wrong-length' if key == 'length' else 'wrong-size'
                self._add(
                    code, f'{key} is {annotation[key]}, but that of the '
                    f'video is {value}', place)
        if all([
                self._has_frames(annotation, key, video, place)
                for key in PER_FRAME_KEYS
        ]) and self._are_numbers(annotation.get('areas') or (), place):
            return video
        return None

    def check_track(self, annotation: dict, video: VideoSize) -> ObjectTracks:
        """Check masks and boxes of one annotation.

        Args:
            annotation (dict): Passed :meth:`check_annotation`.
            video (VideoSize): What that returned.

        Returns:
            ObjectTracks: The object where it is visible.
        """
        place = _place_of(annotation, None)
        masks = self._check_masks(annotation['segmentations'], video, place)
        boxes = self._check_boxes(annotation, video, place)
        if not any(mask is not None for mask in annotation['segmentations']):
            self._add('never-visible', 'the object is absent in all frames',
                      place)
        return ObjectTracks(masks, boxes[masks.frames])

    def check_masks(self,
                    item: dict,
                    video: VideoSize,
                    result: Optional[int] = None,
                    codes: bool = True) -> None:
        """Check masks alone, those of an annotation or of a row of results.

        Args:
            item (dict): Passed :meth:`check_annotation` or
                :meth:`check_result`.
            video (VideoSize): What that returned.
            result (int, optional): Position of a row. Defaults to None, an
                annotation.
            codes (bool): Whether run-length codes must be whole and cover
                the frame. Defaults to True; to find that out is most of the
                work.
        """
        if codes or not _are_plain(item['segmentations'], [*video[:2]]):
            place = _place_of(item, None) if result is None else \
                _place_of_result(item, result)
            self._check_masks(item['segmentations'], video, place)

    def check_areas(self, annotation: dict, track: ObjectTracks) -> None:
        """Compare the areas of an annotation with its masks.

        Args:
            annotation (dict): Passed :meth:`check_annotation`.
            track (ObjectTracks): What :meth:`check_track` returned.
        """
        areas = annotation.get('areas')
        if areas is None:
            return
        wrong = [
            (frame, areas[frame], pixels) for frame, pixels in zip(
                track.masks.frames.tolist(), track.masks.areas.tolist())
            if not is_number(areas[frame]) or abs(areas[frame] - pixels) > 1 +
            AREA_TOLERANCE * pixels
        ]
        if wrong:
            frame, area, pixels = wrong[0]
            self._add(
                'area', f'areas differ from the masks in {len(wrong)} frames, '
                f'the first is {area} instead of {pixels} pixels',
                dict(_place_of(annotation, None), frame=frame))

    def check_result(self, row: Any, index: int) -> Optional[VideoSize]:
        """Check all of a row of results but the content of its masks.

        Args:
            row (Any): The entry of the JSON.
            index (int): Its 0-based position.

        Returns:
            VideoSize, optional: Extent of its video, None if the defects
            leave nothing to be read.
        """
        if not self._is_object(row, result=index):
            return None
        place = _place_of_result(row, index)
        complete = self._has_keys(
            row, ('video_id', 'category_id', 'score', 'segmentations'), place)
        self._check_category(row, place)
        score = row.get('score', 0)
        if not is_number(score):
            self._add('score',
                      f'score must be a finite number, but got {score!r}',
                      place)
        elif not 0 <= score <= 1:
            self._add('score-range', f'score {score} is not in [0, 1]', place)
        video = self._video_of(row, place, self.videos)
        if video is None or not complete or not self._has_frames(
                row, 'segmentations', video, place):
            return None
        return video

    def check_result_masks(self, row: dict, index: int,
                           video: VideoSize) -> None:
        """Check the masks of a row, and that no row before is its equal.

        Args:
            row (dict): Passed :meth:`check_result`.
            index (int): Its 0-based position.
            video (VideoSize): What that returned.
        """
        place = _place_of_result(row, index)
        masks = self._check_masks(
            row['segmentations'], video, place, empty=True)
        score = row['score']
        key = (row['video_id'], repr(row['category_id']), repr(score),
               masks.data, masks.frames.tobytes())
        first = self._results.setdefault(hash(key), index)
        if first != index:
            self._add('duplicate-result', f'the same as result {first}', place)

    def _check_categories(self, categories: List[Any]) -> None:
        """Check ids and names of the categories."""
        names: Dict[str, int] = {}
        for position, category in enumerate(categories):
            name = f'at position {position}'
            if not self._is_object(category, category=name):
                continue
            place = dict(category=category.get('id', name))
            self._has_keys(category, ('id', 'name'), place)
            self._check_id(category, self.category_ids, place)
            name = category.get('name', '')
            if not isinstance(name, str):
                self._add('wrong-type', f'name must be a string, but got '
                          f'{name!r}', place)
            elif name in names:
                self._add(
                    'duplicate-name', 'category names must differ, but '
                    f'{name!r} is also that of category {names[name]}', place)
            else:
                names[name] = category.get('id')
        if self.category_ids != set(range(1, len(categories) + 1)):
            self._add('category-ids',
                      f'category ids are not 1 to {len(categories)}')

    def _check_videos(self, videos: List[Any]) -> None:
        """Check the videos and remember their extents."""
        owners: Dict[str, Any] = {}
        for position, video in enumerate(videos):
            name = f'at position {position}'
            if not self._is_object(video, video=name):
                continue
            place = dict(video=video.get('id', name))
            has_files = (
                self.need_files or 'file_names' in video
                or 'length' not in video)
            complete = self._has_keys(video, ['id', 'width', 'height'] +
                                      ['file_names'] * has_files, place)
            valid = self._check_id(video, self._video_ids, place)
            for key in VideoSize._fields[:2 if has_files else 3]:
                value = video.get(key, 1)
                if not is_int(value) or value < 1:
                    valid = False
                    self._add(
                        'wrong-size', f'{key} must be a positive integer, '
                        f'but got {value!r}', place)
            if complete and valid and video['height'] * video[
                    'width'] > MAX_PIXELS:
                valid = False
                self._add(
                    'wrong-size', f'a frame may have {MAX_PIXELS} pixels, '
                    f'but got {video["width"]} x {video["height"]}', place)
            if not complete or has_files and not self._check_file_names(
                    video, owners, place):
                continue
            length = (
                len(video['file_names']) if has_files else video['length'])
            if 'length' not in video:
                self._add('no-length', "key 'length' is missing", place)
            elif video['length'] != length:
                self._add(
                    'wrong-length', f"length is {video['length']}, but "
                    f'file_names has {length} entries', place)
            if valid:
                self.videos[video['id']] = VideoSize(video['height'],
                                                     video['width'], length)

    def _check_file_names(self, video: dict, owners: Dict[str, Any],
                          place: dict) -> bool:
        """Check the frame list; True if it can be used."""
        names = video['file_names']
        if not isinstance(names, list) or not names:
            self._add(
                'no-frames', 'file_names must be a list of at least one '
                f'frame, but got {names!r:.40}', place)
            return False
        for frame, name in enumerate(names):
            if not isinstance(name, str):
                self._add('wrong-type', 'file names must be strings, but got '
                          f'{name!r}', dict(place, frame=frame))
                return False
            if '\\' in name:
                self._add('file-name', BACKSLASH.format(name),
                          dict(place, frame=frame))
                return False
            if owners.setdefault(name, video['id']) != video['id']:
                self._add(
                    'duplicate-frame', f"'{name}' is also a frame of video "
                    f'{owners[name]}', dict(place, frame=frame))
                break
        if len(set(names)) < len(names):
            self._add('duplicate-frame', 'a frame is listed twice', place)
        if _are_sorted_as_text(names):
            self._add(
                'frame-order', 'frames must be in the order of their numbers, '
                'but are in that of their names, as 1, 10, 2', place)
        return True

    def _check_masks(self,
                     segmentations: list,
                     video: VideoSize,
                     place: dict,
                     empty: bool = False) -> PackedMasks:
        """Check and pack masks; ``empty`` allows masks without pixels."""

        def on_error(frame: int, error: ValueError) -> None:
            if error.code != 'empty-mask' or not empty:
                self._add(error.code, str(error), dict(place, frame=frame))

        for frame, mask in enumerate(segmentations):
            if isinstance(mask, list) and \
                    0 < len(without_points(mask)) < len(mask):
                self._add(
                    'lone-points', 'points and lines beside the polygons of '
                    'the mask cover nothing', dict(place, frame=frame))
        return pack_masks(segmentations, video.height, video.width, on_error)

    def _check_boxes(self, annotation: dict, video: VideoSize,
                     place: dict) -> np.ndarray:
        """Check the boxes of all frames; returns them inside the frame."""
        masks, boxes = annotation['segmentations'], annotation.get('bboxes')
        corners = np.full((video.length, 4), np.nan)
        if boxes is None:
            return corners
        limits = np.array([video.width, video.height] * 2, np.float64)
        filled = corners.copy()
        for frame, (mask, box) in enumerate(zip(masks, boxes)):
            if self._is_box(box, mask, dict(place, frame=frame)):
                filled[frame] = box
        corners = np.concatenate(
            [filled[:, :2], filled[:, :2] + filled[:, 2:]], 1)
        inside = np.clip(corners, 0, limits)
        empty = (filled[:, 2:] <= 0).any(1)
        outside = (abs(corners - inside) > BOX_TOLERANCE).any(1) & ~empty
        for frame in np.flatnonzero(empty | outside).tolist():
            what = ('box-empty', 'a box needs a width and height above 0'
                    ) if empty[frame] else (
                        'box-outside',
                        'a box must lie inside the frame, which is '
                        f'{video.width} x {video.height}')
            self._add(what[0], f'{what[1]}, but got {boxes[frame]}',
                      dict(place, frame=frame))
        inside[(inside[:, 2:] <= inside[:, :2]).any(1)] = np.nan
        return inside

    def _is_box(self, box: Any, mask: Any, place: dict) -> bool:
        """Check the form of a box, and that it is null with the mask."""
        if (box is None) != (mask is None):
            self._add(
                'null-mismatch', 'box and mask must be null together, but '
                f'only the {"box" if box is None else "mask"} is', place)
        if box is None:
            return False
        if not isinstance(box, list) or len(box) != 4 or not all(
                is_number(value) for value in box):
            self._add(
                'box-form', 'a box is (x, y, w, h) in pixels, but got '
                f'{box!r:.40}', place)
            return False
        return True

    def _check_category(self, item: dict, place: dict) -> None:
        """Report a category id that is not among the categories."""
        value = item.get('category_id')
        if 'category_id' in item and (not is_int(value)
                                      or value not in self.category_ids):
            self._add(
                'unknown-category', f'category_id {value!r} is not among '
                f'those of the {len(self.category_ids)} categories', place)

    def _video_of(self, item: dict, place: dict,
                  ids: Container[int]) -> Optional[VideoSize]:
        """Extent of an item's video, None if it is not among ``ids`` or
        cannot be used."""
        value = item.get('video_id')
        known = is_int(value) and value in ids
        if not known and 'video_id' in item:
            self._add('unknown-video', 'there is no such video', place)
        return self.videos.get(value) if known else None

    def _check_id(self, item: dict, ids: Set[int], place: dict) -> bool:
        """Report an id that is no integer or used before; adds it."""
        value = item.get('id')
        if not is_int(value):
            if 'id' in item:
                self._add('wrong-type', 'the id must be an integer, but got '
                          f'{value!r}', place)
            return False
        if value in ids:
            self._add('duplicate-id', 'the id is used twice', place)
            return False
        ids.add(value)
        return True

    def _are_numbers(self, areas: Sequence[Any], place: dict) -> bool:
        """Report areas that are neither numbers nor null."""
        for frame, area in enumerate(areas):
            if area is not None and not is_number(area):
                self._add(
                    'wrong-type', 'areas must be numbers or null, but '
                    f'got {area!r:.40}', dict(place, frame=frame))
                return False
        return True

    def _has_frames(self, item: dict, key: str, video: VideoSize,
                    place: dict) -> bool:
        """Report a list that has not one entry for each frame."""
        values = item.get(key)
        if values is None and key != 'segmentations':
            return True
        listed = isinstance(values, (list, tuple))
        if listed and len(values) == video.length:
            return True
        got = len(values) if listed else f'{values!r:.40}'
        self._add(
            'wrong-length', f'{key} must have one entry for each of the '
            f'{video.length} frames, but got {got}', place)
        return False

    def _has_keys(self, item: dict, keys: Iterable[str], place: dict) -> bool:
        """Report missing keys."""
        missing = [key for key in keys if key not in item]
        for key in missing:
            self._add('missing-key', f"key '{key}' is missing", place)
        return not missing

    def _is_object(self, item: Any, **place: Any) -> bool:
        """Report an entry that is no JSON object."""
        if not isinstance(item, dict):
            self._add('wrong-type', 'expected an object, but got '
                      f'{type(item).__name__}', place)
        return isinstance(item, dict)

    def _add(self,
             code: str,
             message: str,
             place: Optional[dict] = None) -> None:
        """Report a defect."""
        self.report(Defect(code, message, **(place or {})))


def raise_defect(defect: Defect, source: str) -> NoReturn:
    """Refuse a file because of a defect.

    Args:
        defect (Defect): The reason.
        source (str): The file's name.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f'{source}: {defect}')


def find_defects(content: Any) -> List[Defect]:
    """All defects of a data set's JSON.

    Args:
        content (Any): The loaded JSON.

    Returns:
        list[Defect]: In the order of the file.
    """
    defects: List[Defect] = []
    checker = VISChecker(defects.append)
    annotations = checker.check_header(content)
    if not annotations:
        defects.append(Defect('no-annotations', 'there are no annotations'))
    elif all_crowds(annotations):
        defects.append(Defect('all-crowds', ALL_CROWDS))
    for position, annotation in enumerate(annotations):
        video = checker.check_annotation(annotation, position)
        if video is not None:
            track = checker.check_track(annotation, video)
            checker.check_areas(annotation, track)
    return defects


def all_crowds(annotations: Sequence[Any]) -> bool:
    """Whether all annotations are crowds.

    Args:
        annotations (Sequence): At least one, of the JSON.

    Returns:
        bool: True if none of them is an object.
    """
    return all(
        isinstance(item, dict) and item.get('iscrowd') == 1
        for item in annotations)


def is_int(value: Any) -> bool:
    """Whether a value is an integer.

    Args:
        value (Any): Any value.

    Returns:
        bool: True for integers, numpy's included.
    """
    return isinstance(value, (int, Integral)) and not isinstance(value, bool)


def find_result_defects(content: Any, results: Any) -> List[Defect]:
    """All defects of a results file.

    Args:
        content (Any): The loaded JSON of the data set; its annotations are
            not looked at.
        results (Any): The loaded results: a list of rows with ``video_id``,
            ``category_id``, ``score`` and ``segmentations``.

    Returns:
        list[Defect]: In the order of the file; videos without results last.
    """
    checker = VISChecker(lambda defect: None, need_files=False)
    checker.check_header(content)
    defects: List[Defect] = []
    checker.report = defects.append
    if not isinstance(results, list):
        return [
            Defect(
                'wrong-type', 'results must be a list of rows, but got '
                f'{type(results).__name__}')
        ]
    for index, row in enumerate(results):
        video = checker.check_result(row, index)
        if video is not None:
            checker.check_result_masks(row, index, video)
    found = {
        row['video_id']
        for row in results
        if isinstance(row, dict) and is_int(row.get('video_id'))
    }
    for video_id in checker.videos:
        if video_id not in found:
            defects.append(
                Defect(
                    'no-results', 'the video has no results', video=video_id))
    return defects


def read_plain_tracks(annotations: Sequence[dict],
                      videos: Sequence[VideoSize]) -> Optional[ObjectTracks]:
    """Masks and boxes of annotations at once, if all are faultless.

    Args:
        annotations (Sequence[dict]): Passed ``check_annotation``.
        videos (Sequence[VideoSize]): Extent of the video of each.

    Returns:
        ObjectTracks, optional: What ``check_track`` returns for each, joined;
        None if it would report anything for one of them.
    """
    masks = pack_plain_masks([item['segmentations'] for item in annotations],
                             videos)
    if masks is None or not masks.areas.all():
        return None
    buffer, frames, given = array('d'), [], []
    ends = np.searchsorted(masks.owners, np.arange(len(videos)), 'right')
    first = 0
    try:
        for annotation, end in zip(annotations, ends.tolist()):
            if end == first:
                return None  # never visible
            boxes = annotation.get('bboxes')
            given.append(boxes is not None)
            if boxes is None:
                buffer.extend([math.nan] * (4 * (end - first)))
                frames.extend(masks.frames[first:end].tolist())
            else:
                for frame, box in enumerate(boxes):
                    if box is not None:
                        if len(box) != 4:
                            return None
                        frames.append(frame)
                        buffer.fromlist(box)
            if len(frames) != end:
                return None
            first = end
    except TypeError:
        return None
    corners = np.frombuffer(buffer).reshape(-1, 4).copy()
    given = np.array(given)[masks.owners]
    limits = np.array([(width, height) for height, width, _ in videos])
    limits = np.tile(limits[masks.owners], 2)
    sizes = corners[given, 2:]
    corners[:, 2:] += corners[:, :2]
    inside = np.clip(corners, 0, limits)
    # comparisons with NaN and infinity fail
    fits = (abs(corners - inside)[given] <= BOX_TOLERANCE).all()
    if not fits or not (sizes > 0).all() or (masks.frames != frames).any():
        return None
    return ObjectTracks(masks, inside)


def _are_sorted_as_text(names: Sequence[str]) -> bool:
    """Whether names that differ in numbers ascend, but the numbers do not."""
    if len(set(map(len, names))) == 1 or list(names) != sorted(names) or \
            len({re.sub(r'\d+', '0', name) for name in names}) > 1:
        return False
    numbers = [[(len(digits), digits)
                for digits in re.findall(r'0*(\d+)', name)] for name in names]
    return numbers != sorted(numbers)


def _are_plain(segmentations: Sequence[Any], size: List[int]) -> bool:
    """Whether all masks are RLE of this size, whatever their codes hold."""
    masks = [mask for mask in segmentations if mask is not None]
    try:
        sizes = [mask['size'] for mask in masks]
        return sizes.count(size) == len(masks) and all(
            _is_safe(mask['counts']) for mask in masks)
    except (TypeError, KeyError, OverflowError):
        return False


def _is_safe(counts: Any) -> bool:
    """Whether pycocotools reads counts without leaving them."""
    # the last character goes on behind the end from P on
    if isinstance(counts, str):
        return '' < counts[-1:] < 'P'
    if isinstance(counts, bytes):
        return b'' < counts[-1:] < b'P'
    # an array raises for what is no count
    return isinstance(counts, list) and len(array('I', counts)) > 0


def _place_of(annotation: dict, otherwise: Union[str, None]) -> dict:
    """Video and id of an annotation."""
    return dict(
        video=annotation.get('video_id'),
        annotation=annotation.get('id', otherwise))


def _place_of_result(row: dict, index: int) -> dict:
    """Position and video of a row of results."""
    return dict(result=index, video=row.get('video_id'))
