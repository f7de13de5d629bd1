# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Masks as polygons that people can edit."""
from typing import Iterator, List, NamedTuple, Sequence

import cv2
import numpy as np
import pycocotools.mask as mask_utils
from contourpy import FillType, contour_generator  # comes with matplotlib

# pixels, see mask_polygons; the last one leaves out what lies on straight lines
TOLERANCES = (2., 1., 0.5, 0.01)
MIN_IOU = 0.98
DIGITS = 2  # after the point, as CVAT writes coordinates


class _Region(NamedTuple):
    """A connected part of a mask.

    Attributes:
        outline (np.ndarray): Points (x, y) around it, (P, 2).
        holes (list[np.ndarray]): Points around each of its holes.
    """
    outline: np.ndarray
    holes: List[np.ndarray]


def mask_polygons(mask: np.ndarray, min_iou: float = MIN_IOU) -> List[list]:
    """Polygons that cover a mask, a part each, the largest first.

    A polygon has no holes, so a slit of no width leads from the outline to
    each hole: every rule of filling leaves the hole free. The smallest parts
    and holes are left out as long as they are a half of what ``min_iou``
    allows, and as few points as it allows are kept: those from which the
    outline is at most 2, 1 or 0.5 pixels away, else all corners.

    Args:
        mask (np.ndarray): Bool, has shape (H, W).
        min_iou (float): Least IoU of the mask with what pycocotools makes of
            the polygons, in [0, 1]. Defaults to 0.98.

    Returns:
        list[list[float]]: x1, y1, x2, y2 and so on of each polygon, in pixels
        from the left upper corner of the frame, in [0, W] and [0, H]; two
        digits after the point. Empty for a mask without pixels.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    mask = mask[top:rows[-1] + 1, left:columns[-1] + 1]  # far faster
    regions = _without_specks(
        list(_trace(mask)),
        np.count_nonzero(mask) * (1 - min_iou) / 2)
    code = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    polygons: List[list] = []
    for tolerance in TOLERANCES:
        polygons = [_join(region, tolerance) for region in regions]
        if all(map(len, polygons)):
            found = mask_utils.merge(
                mask_utils.frPyObjects(polygons, *mask.shape))
            if mask_utils.iou([found], [code], [False])[0, 0] >= min_iou:
                break
    return [(np.reshape(polygon,
                        (-1, 2)) + (left, top)).ravel().round(DIGITS).tolist()
            for polygon in polygons]


def _trace(mask: np.ndarray) -> Iterator[_Region]:
    """Outlines half-way between the centres of pixels, which are exact."""
    padded = np.pad(mask, 1).astype(np.uint8)
    tracer = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    for points, offsets in zip(*tracer.filled(0.5, np.inf)):
        rings = [
            points[first:last - 1] - 0.5  # the last is the first again
            for first, last in zip(offsets, offsets[1:])
        ]
        yield _Region(rings[0], rings[1:])


def _area(ring: np.ndarray) -> float:
    """Area inside of a ring, in pixels."""
    return cv2.contourArea(ring.astype(np.float32))


def _without_specks(regions: Sequence[_Region], most: float) -> List[_Region]:
    """Leave out the smallest parts and holes, ``most`` pixels together."""
    rings = [ring for region in regions for ring in (region[0], *region[1])]
    areas = sorted(map(_area, rings))
    specks = int(np.searchsorted(np.cumsum(areas), most, side='right'))
    least = areas[min(specks, len(areas) - 1)]
    kept = [
        _Region(region.outline,
                [hole for hole in region.holes if _area(hole) >= least])
        for region in regions if _area(region.outline) >= least
    ]
    return sorted(kept, key=lambda region: -_area(region.outline))


def _join(region: _Region, tolerance: float) -> List[float]:
    """One ring of a part and its holes, empty if too little is left."""
    ring = _simplify(region.outline, tolerance)
    holes = [_simplify(hole, tolerance) for hole in region.holes]
    if len(ring) < 3:
        return []
    for hole in sorted(
            filter(lambda hole: len(hole) > 2, holes),
            key=lambda hole: hole[:, 0].min()):
        gaps = ((ring[:, None] - hole)**2).sum(axis=2)
        start, end = np.unravel_index(gaps.argmin(), gaps.shape)
        slit = np.concatenate([hole[end:], hole[:end + 1]])
        ring = np.concatenate([ring[:start + 1], slit, ring[start:]])
    return ring.round(DIGITS).ravel().tolist()


def _simplify(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Fewer points, from which no point is further away."""
    return cv2.approxPolyDP(ring.astype(np.float32), tolerance,
                            True)[:, 0].astype(float)
