# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Masks of objects in compact form."""
from array import array
from numbers import Real
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import pycocotools.mask as mask_utils

from refinevis_mm.structures import MAX_PIXELS
from .rle import CountSums, compress_counts, sum_codes, sum_counts

LARGEST = 1e9  # of a number
# of a coordinate: pycocotools takes memory for every pixel of an outline, and
# crashes where they are too many
FARTHEST = 1e5
MIN_POLYGON = 6  # numbers, three points

Size = Tuple[int, ...]  # starts with height and width


class PackedMasks(NamedTuple):
    """n masks of one or several objects.

    Attributes:
        owners (np.ndarray): Position of each mask's object among the objects,
            ascending, (n, ).
        frames (np.ndarray): Position of its frame in the video, ascending
            for each object, (n, ).
        data (bytes): COCO's compressed strings one after the other.
        lengths (np.ndarray): Length of each string, (n, ).
        areas (np.ndarray): Pixels of each mask, (n, ).
    """
    owners: np.ndarray
    frames: np.ndarray
    data: bytes
    lengths: np.ndarray
    areas: np.ndarray

    def select(self, keep: np.ndarray) -> 'PackedMasks':
        """Some of the masks.

        Args:
            keep (np.ndarray): Bool, has shape (n, ).

        Returns:
            PackedMasks: These masks only; the same object if they are all.
        """
        if keep.all():
            return self
        data = np.frombuffer(self.data, np.uint8)
        return PackedMasks(self.owners[keep], self.frames[keep],
                           data[np.repeat(keep, self.lengths)].tobytes(),
                           self.lengths[keep], self.areas[keep])

    def rles(self, sizes: Sequence[Size]) -> List[dict]:
        """The masks as pycocotools takes them.

        Args:
            sizes (Sequence[tuple]): Height and width in pixels of the frames
                of each object.

        Returns:
            list[dict]: ``size`` and ``counts`` (bytes) of n masks.
        """
        ends = np.cumsum(self.lengths)
        return [
            dict(
                size=list(sizes[owner][:2]),
                counts=self.data[end - length:end])
            for owner, end, length in zip(self.owners.tolist(), ends.tolist(),
                                          self.lengths.tolist())
        ]


class MaskError(ValueError):
    """A segmentation that breaks a rule.

    Args:
        code (str): Of the defect, see :data:`.defects.LEVELS`.
        message (str): What is wrong.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_number(value: Any) -> bool:
    """Whether a value can be a coordinate.

    Args:
        value (Any): Any value.

    Returns:
        bool: True for numbers between -1e9 and 1e9, numpy's included.
    """
    return (isinstance(value, (int, float, Real))
            and not isinstance(value, bool) and -LARGEST < value < LARGEST)


def pack_masks(segmentations: List[Any], height: int, width: int,
               on_error: Callable[[int, MaskError], None]) -> PackedMasks:
    """Segmentations of the frames of a video -> :obj:`PackedMasks`.

    Args:
        segmentations (list): RLE (counts as a list or compressed), polygons
            or None for each of the T frames.
        height (int): Of the frames, in pixels.
        width (int): Of the frames, in pixels.
        on_error (Callable): Called with the frame and the error of each
            segmentation that breaks a rule; these are left out, as are
            masks without pixels, which it is called for with
            ``code='empty-mask'``.

    Returns:
        PackedMasks: The masks that have pixels.
    """
    tube = pack_plain_masks([segmentations], [(height, width)])
    if tube is None:
        tube = _pack_each(segmentations, height, width, on_error)
    for frame in tube.frames[tube.areas == 0].tolist():
        on_error(
            frame,
            MaskError('empty-mask', 'the mask has no pixels, should be null'))
    return tube.select(tube.areas > 0)


def pack_plain_masks(objects: Sequence[list],
                     sizes: Sequence[Size]) -> Optional[PackedMasks]:
    """Faultless RLE, all of one kind, of several objects at once.

    Args:
        objects (Sequence[list]): Segmentations of the frames of each object.
        sizes (Sequence[tuple]): Height and width in pixels of the frames of
            each object.

    Returns:
        PackedMasks, optional: The masks, those without pixels included; None
        if there is anything else among them.
    """
    frames, counts, numbers = [], [], []
    try:
        for segmentations, (height, width, *_) in zip(objects, sizes):
            size, first = [height, width], len(frames)
            for frame, mask in enumerate(segmentations):
                if mask is not None:
                    if mask['size'] != size:
                        return None
                    frames.append(frame)
                    counts.append(mask['counts'])
            numbers.append(len(frames) - first)
        if counts and isinstance(counts[0], str):
            lengths = np.array([len(text) for text in counts])
            if not lengths.all():
                return None
            data = ''.join(counts).encode('ascii')
            sums = sum_codes(data, lengths)
        else:
            data, buffer = None, array('q')
            for runs in counts:
                buffer.fromlist(runs)
            flat = np.frombuffer(buffer, np.int64)
            num_counts = np.array([len(runs) for runs in counts], np.int64)
            if not num_counts.all():
                return None
            sums = sum_counts(flat, num_counts)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    owners = np.repeat(np.arange(len(numbers)), numbers)
    pixels = np.array([size[0] * size[1] for size in sizes])[owners]
    if (sums.lowest < 0).any() or (sums.totals != pixels).any():
        return None
    if data is None:
        data, lengths = compress_counts(flat, num_counts)
    return PackedMasks(owners, np.array(frames, np.int64), data, lengths,
                       sums.areas)


def _pack_each(segmentations: List[Any], height: int, width: int,
               on_error: Callable[[int, MaskError], None]) -> PackedMasks:
    """Segmentations of any kind of one object, one by one."""
    frames, texts, areas = [], [], []
    for frame, mask in enumerate(segmentations):
        if mask is None:
            continue
        try:
            text, area = compress_mask(mask, height, width)
        except MaskError as error:
            on_error(frame, error)
            continue
        frames.append(frame)
        texts.append(text)
        areas.append(area)
    return PackedMasks(
        np.zeros(len(frames), np.int64), np.array(frames, np.int64),
        b''.join(texts), np.array([len(text) for text in texts], np.int64),
        np.array(areas, np.int64))


def without_points(polygons: list) -> list:
    """Leave out what cannot be a polygon: points and lines.

    Annotation tools leave them beside polygons; they cover nothing.

    Args:
        polygons (list): Polygons of a mask, each x1, y1, x2, y2 and so on.

    Returns:
        list: Those of at least three points.
    """
    return [
        part for part in polygons
        if not isinstance(part, list) or len(part) >= MIN_POLYGON
    ]


def compress_mask(mask: Any, height: int, width: int) -> Tuple[bytes, int]:
    """One segmentation of any kind -> COCO's compressed string.

    Args:
        mask (dict | list): RLE or polygons.
        height (int): Of the frame, in pixels.
        width (int): Of the frame, in pixels.

    Returns:
        tuple[bytes, int]: The string and the number of pixels.

    Raises:
        MaskError: If the segmentation breaks a rule.
    """
    if isinstance(mask, list):
        return _compress_polygons(mask, height, width)
    if not isinstance(mask, dict) or not {'size', 'counts'} <= set(mask):
        raise MaskError(
            'mask-form', "a mask must be null, polygons or RLE with 'size' "
            f"and 'counts', but got {type(mask).__name__}")
    size, counts = mask['size'], mask['counts']
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise MaskError(
            'mask-size', f"mask size is {size}, but the video's (height, "
            f'width) is {[height, width]}')
    try:
        data, sums = _read_counts(counts)
    except (TypeError, ValueError, OverflowError):
        raise MaskError(
            'mask-counts', 'RLE counts must be a list of integers or a '
            f'compressed string, but got {counts!r:.40}') from None
    total, area, lowest = (int(value[0]) for value in sums)
    if lowest < 0:
        raise MaskError(
            'mask-counts', 'RLE counts must be above 0, the first one may be '
            f'0, and at most {MAX_PIXELS}, but got {counts!r:.40}')
    if total != height * width:
        raise MaskError(
            'mask-counts', f'RLE counts cover {total} pixels, but the frame '
            f'has {height * width}')
    return data, area


def _read_counts(counts: Any) -> Tuple[bytes, CountSums]:
    """Counts of one mask of either kind -> compressed string and sums."""
    if not isinstance(counts, (list, str, bytes)):
        raise TypeError
    if not counts:
        raise ValueError
    length = np.array([len(counts)])
    if isinstance(counts, list):
        flat = np.array(array('q', counts), np.int64)
        sums = sum_counts(flat, length)
        if sums.lowest[0] < 0:
            return b'', sums
        return compress_counts(flat, length)[0], sums
    data = counts.encode('ascii') if isinstance(counts, str) else counts
    return data, sum_codes(data, length)


def _compress_polygons(polygons: list, height: int,
                       width: int) -> Tuple[bytes, int]:
    """Polygons -> string and area; an empty list is an empty mask."""
    if not polygons:
        raise MaskError('empty-mask',
                        'the list of polygons is empty, should be null')
    parts = without_points(polygons)
    for polygon in parts or polygons:
        if not isinstance(polygon, list) or len(polygon) < MIN_POLYGON or (
                len(polygon) % 2):
            raise MaskError(
                'mask-form', 'a polygon needs at least 3 points '
                f'(x, y), but got {polygon!r:.40}')
        if not all(
                is_number(value) and abs(value) <= FARTHEST
                for value in polygon):
            raise MaskError(
                'mask-form', 'a polygon must be a list of numbers up to '
                f'{FARTHEST:g}, but got {polygon!r:.40}')
    rle = mask_utils.merge(mask_utils.frPyObjects(parts, height, width))
    return rle['counts'], int(mask_utils.area(rle))
