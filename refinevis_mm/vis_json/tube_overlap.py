# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Mask tubes: the masks of an object or tracklet in all frames of a video.

Shapes: ``D`` tubes of results and ``G`` of objects of one video, ``F`` frames
of the video.
"""
from typing import List, Optional, Sequence, Tuple

import numpy as np
from pycocotools import mask as mask_utils

from .packed_masks import compress_mask

# pycocotools 2.0.11 with numpy >= 2 overflows above 255 masks in one call.
AREA_CHUNK = 255
NUM_BLOCKS = 8

Tube = Sequence[Optional[dict]]


def to_rles(video: dict, row: dict) -> List[Optional[dict]]:
    """Masks of an object or result as compressed RLE.

    Args:
        video (dict): Its ``height`` and ``width`` in pixels.
        row (dict): Its ``segmentations``: RLE, polygons or None per frame.

    Returns:
        list[dict | None]: F masks, None where there is none.
    """
    tube = [mask or None for mask in row['segmentations']]
    kinds = {
        type(mask['counts']) if isinstance(mask, dict) else list
        for mask in tube if mask
    }
    if list not in kinds:
        return tube
    height, width = video['height'], video['width']
    for frame, mask in enumerate(tube):
        if isinstance(mask, list):
            counts, _ = compress_mask(mask, height, width)
            tube[frame] = dict(size=[height, width], counts=counts)
        elif mask and isinstance(mask['counts'], list):
            tube[frame] = mask_utils.frPyObjects(mask, height, width)
    return tube


def mask_areas(tubes: Sequence[Tube], num_frames: int) -> np.ndarray:
    """Areas of all masks of several tubes.

    Args:
        tubes (Sequence[Sequence[dict | None]]): N tubes of F compressed RLEs.
        num_frames (int): F, needed when there are no tubes.

    Returns:
        ndarray: Areas in pixels, 0 without a mask, int64, has shape (N, F).
    """
    areas = np.zeros((len(tubes), num_frames), dtype=np.int64)
    for row, tube in zip(areas, tubes):
        frames = [frame for frame, mask in enumerate(tube) if mask]
        for start in range(0, len(frames), AREA_CHUNK):
            chunk = frames[start:start + AREA_CHUNK]
            row[chunk] = mask_utils.area([tube[frame] for frame in chunk])
    return areas


def tube_ious(dets: Sequence[Tube],
              objs: Sequence[Tube],
              det_areas: np.ndarray,
              obj_areas: np.ndarray,
              min_iou: float = 0.) -> np.ndarray:
    """IoU of result tubes with object tubes, exact.

    The sum of the intersections over all frames by the sum of the unions; a
    frame in which one side has no mask adds the other side's area to the
    union.

    The frames are taken in interlaced blocks. After each, the areas bound
    what the frames to come can add to the intersections, and pairs that
    cannot reach ``min_iou`` any more are left.

    Args:
        dets (Sequence[Sequence[dict | None]]): D tubes of F RLEs.
        objs (Sequence[Sequence[dict | None]]): G tubes of F RLEs.
        det_areas (ndarray): Areas in pixels, int64, has shape (D, F).
        obj_areas (ndarray): Areas in pixels, int64, has shape (G, F).
        min_iou (float): Pairs whose IoU is below this may get 0. Defaults to
            0, which computes all.

    Returns:
        ndarray: In [0, 1], has shape (D, G).
    """
    sums = det_areas.sum(1)[:, None] + obj_areas.sum(1)
    inters = np.zeros(sums.shape, dtype=np.int64)
    live = np.ones(sums.shape, dtype=bool)
    frames = np.arange(det_areas.shape[1])
    blocks = [frames[start::NUM_BLOCKS] for start in range(NUM_BLOCKS)]
    limits = [
        np.minimum(det_areas[:, None, block], obj_areas[:, block]).sum(-1)
        for block in blocks
    ]
    to_come = np.sum(limits, axis=0)
    for block, limit in zip(blocks, limits):
        bounds = inters + to_come
        live &= bounds >= min_iou * (sums - bounds) - 1
        rows, cols = np.flatnonzero(live.any(1)), np.flatnonzero(live.any(0))
        inters[rows[:, None],
               cols] += _intersections([dets[row] for row in rows],
                                       [objs[col] for col in cols],
                                       det_areas[rows], block.tolist())
        to_come -= limit
    return np.where(live, inters / np.maximum(sums - inters, 1), 0.)


def tube_covers(dets: Sequence[Tube], crowds: Sequence[Tube],
                det_areas: np.ndarray) -> np.ndarray:
    """Share of the pixels of result tubes that lie in crowd tubes.

    Args:
        dets (Sequence[Sequence[dict | None]]): D tubes of F RLEs.
        crowds (Sequence[Sequence[dict | None]]): G tubes of F RLEs.
        det_areas (ndarray): Areas in pixels, int64, has shape (D, F).

    Returns:
        ndarray: In [0, 1], 0 for tubes without pixels, has shape (D, G).
    """
    inters = _intersections(dets, crowds, det_areas, range(det_areas.shape[1]))
    return inters / np.maximum(det_areas.sum(1), 1)[:, None]


def _intersections(dets: Sequence[Tube], objs: Sequence[Tube],
                   det_areas: np.ndarray, frames: Sequence[int]) -> np.ndarray:
    """Pixels common to tubes, summed over ``frames``, int64, (D, G)."""
    inters = np.zeros((len(dets), len(objs)), dtype=np.int64)
    if not inters.size:
        return inters
    for frame in frames:
        rows = [row for row, tube in enumerate(dets) if tube[frame]]
        cols = [col for col, tube in enumerate(objs) if tube[frame]]
        if not rows or not cols:
            continue
        # With every object flagged crowd the result is inter / det area.
        ratios = mask_utils.iou([dets[row][frame] for row in rows],
                                [objs[col][frame] for col in cols],
                                [1] * len(cols))
        pixels = np.rint(ratios * det_areas[rows, frame, None])
        if pixels.shape == inters.shape:
            inters += pixels.astype(np.int64)
        else:
            inters[np.ix_(rows, cols)] += pixels.astype(np.int64)
    return inters


def frame_ious(dets: Sequence[Tube],
               objs: Sequence[Tube],
               det_areas: np.ndarray,
               obj_areas: np.ndarray,
               crowd: bool = False) -> np.ndarray:
    """Mask IoU of all tracklets with all objects in every frame.

    Args:
        dets (Sequence[Sequence[dict | None]]): D tubes of F compressed RLEs.
        objs (Sequence[Sequence[dict | None]]): G tubes of F RLEs.
        det_areas (ndarray): Areas in pixels, has shape (D, F).
        obj_areas (ndarray): Areas in pixels, has shape (G, F).
        crowd (bool): Whether to divide by the area of the predicted mask
            instead of the union. Defaults to False.

    Returns:
        ndarray: In [0, 1], 0 where one side has no mask, has shape (F, D, G).
    """
    ious = np.zeros((det_areas.shape[1], len(dets), len(objs)))
    for frame in range(len(ious)):
        rows = np.flatnonzero(det_areas[:, frame])
        cols = np.flatnonzero(obj_areas[:, frame])
        if len(rows) and len(cols):
            ious[frame, rows[:, None],
                 cols] = mask_utils.iou([dets[row][frame] for row in rows],
                                        [objs[col][frame] for col in cols],
                                        [int(crowd)] * len(cols))
    return ious


def tube_key(tube: Tube, areas: np.ndarray) -> Tuple[Optional[bytes], ...]:
    """What is equal for tubes of the same masks and only for these.

    It does not matter whether they share one list or hold copies, as bytes or
    text, and whether an empty mask is an RLE or None.

    Args:
        tube (Sequence[dict | None]): F compressed RLEs.
        areas (ndarray): Their areas in pixels, has shape (F, ).

    Returns:
        tuple[bytes | None]: F codes.
    """
    codes = []
    for mask, area in zip(tube, areas.tolist()):
        code = mask['counts'] if area else None
        codes.append(code.encode() if isinstance(code, str) else code)
    return tuple(codes)


def distinct_tubes(tubes: Sequence[Tube], num_frames: int) -> List[Tube]:
    """One tube of all those with the same masks, by first appearance.

    Args:
        tubes (Sequence[Sequence[dict | None]]): N tubes of F compressed RLEs.
        num_frames (int): F, needed when there are no tubes.

    Returns:
        list[Sequence[dict | None]]: Some of the tubes.
    """
    distinct = {}
    for tube, areas in zip(tubes, mask_areas(tubes, num_frames)):
        distinct.setdefault(tube_key(tube, areas), tube)
    return list(distinct.values())
