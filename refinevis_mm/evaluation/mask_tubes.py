# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Mask tubes: the masks of an object or tracklet in all frames of a video.

Shapes: ``D`` tubes of results and ``G`` of objects of one video, ``F`` frames
of the video.
"""
from typing import List, Optional, Sequence, Tuple

import numpy as np
from pycocotools import mask as mask_utils

# pycocotools 2.0.11 with numpy >= 2 overflows above 255 masks in one call.
AREA_CHUNK = 255

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
            tube[frame] = mask_utils.merge(
                mask_utils.frPyObjects(mask, height, width))
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


def tube_overlaps(dets: Sequence[Tube], objs: Sequence[Tube],
                  obj_areas: np.ndarray,
                  size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """Pixels common to result and object tubes, and areas of the results.

    Each code is read once. pycocotools divides the intersection with a crowd
    by the other mask's area; so the results are given as crowds, and a mask
    of the whole frame is put beside the objects to learn the areas.

    Args:
        dets (Sequence[Sequence[dict | None]]): D tubes of F compressed RLEs.
        objs (Sequence[Sequence[dict | None]]): G tubes of F RLEs.
        obj_areas (ndarray): Areas in pixels, int64, has shape (G, F).
        size (tuple[int]): Height and width of the frames in pixels.

    Returns:
        tuple[ndarray]: Intersections summed over the frames, has shape
        (D, G), and areas of the results, has shape (D, F), both int64.
    """
    num_frames, num_pixels = obj_areas.shape[1], size[0] * size[1]
    whole = mask_utils.frPyObjects(
        dict(size=size, counts=[0, num_pixels]), *size)
    inters = np.zeros((len(objs), len(dets)), dtype=np.int64)
    areas = np.zeros((num_frames, len(dets)), dtype=np.int64)
    for frame, masks in enumerate(zip(*dets)):
        rows = [row for row, mask in enumerate(masks) if mask]
        if not rows:
            continue
        cols = [col for col, tube in enumerate(objs) if tube[frame]]
        ratios = mask_utils.iou([objs[col][frame] for col in cols] + [whole],
                                [masks[row] for row in rows], [1] * len(rows))
        pixels = np.append(obj_areas[cols, frame], num_pixels)
        pixels = np.rint(ratios * pixels[:, None]).astype(np.int64)
        areas[frame, rows] = pixels[-1]
        inters[np.ix_(cols, rows)] += pixels[:-1]
    return inters.T, areas.T


def overlaps_to_ious(inters: np.ndarray, det_areas: np.ndarray,
                     obj_areas: np.ndarray) -> np.ndarray:
    """IoU of result tubes with object tubes, exact.

    The sum of the intersections over all frames by the sum of the unions; a
    frame in which one side has no mask adds the other side's area to the
    union.

    Args:
        inters (ndarray): Common pixels, int64, has shape (D, G).
        det_areas (ndarray): Areas in pixels, int64, has shape (D, F).
        obj_areas (ndarray): Areas in pixels, int64, has shape (G, F).

    Returns:
        ndarray: In [0, 1], has shape (D, G).
    """
    unions = det_areas.sum(1)[:, None] + obj_areas.sum(1) - inters
    return inters / np.maximum(unions, 1)


def tube_ious(dets: Sequence[Tube], objs: Sequence[Tube],
              det_areas: np.ndarray, obj_areas: np.ndarray) -> np.ndarray:
    """IoU of tubes whose areas are known, see :func:`overlaps_to_ious`.

    Args:
        dets (Sequence[Sequence[dict | None]]): D tubes of F RLEs.
        objs (Sequence[Sequence[dict | None]]): G tubes of F RLEs.
        det_areas (ndarray): Areas in pixels, int64, has shape (D, F).
        obj_areas (ndarray): Areas in pixels, int64, has shape (G, F).

    Returns:
        ndarray: In [0, 1], has shape (D, G).
    """
    sizes = (mask['size'] for tube in objs for mask in tube if mask)
    size = next(sizes, (1, 1))
    inters, _ = tube_overlaps(dets, objs, obj_areas, size)
    return overlaps_to_ious(inters, det_areas, obj_areas)


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

    It does not matter whether they share one list or hold copies, as bytes,
    text or uncompressed, and whether an empty mask is an RLE or None.

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
