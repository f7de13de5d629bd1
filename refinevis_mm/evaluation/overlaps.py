# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What tracking metrics know of a video: which masks overlap by how much.

Shapes: ``F`` frames, ``G`` objects, ``C`` crowds and ``D`` tracklets of one
video.
"""
from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np
from pycocotools import mask as mask_utils

from refinevis_mm.vis_json import Tube, frame_ious, mask_areas
from .hota import EPS, best_pairs

IOU_THR = 0.5
CROWD_SHARE = 0.5  # a mask of which more lies in crowds is in a crowd
NOBODY = -1


class Overlaps(NamedTuple):
    """Masks of objects and tracklets in all frames of a video.

    Attributes:
        ious (np.ndarray): Mask IoU, 0 where one side is absent, float64, has
            shape (F, G, D).
        obj_seen (np.ndarray): Bool, frames in which each object has a mask,
            has shape (F, G).
        det_seen (np.ndarray): The same of the tracklets, has shape (F, D).
    """

    ious: np.ndarray
    obj_seen: np.ndarray
    det_seen: np.ndarray


def measure_overlaps(objs: Sequence[Tube], crowds: Sequence[Tube],
                     dets: Sequence[Tube], num_frames: int) -> Overlaps:
    """Overlaps of tubes, whose masks may overlap each other.

    Args:
        objs (Sequence[Sequence[dict | None]]): G tubes of F compressed RLEs.
        crowds (Sequence[Sequence[dict | None]]): C tubes of crowds, see
            :func:`leave_out_crowds`.
        dets (Sequence[Sequence[dict | None]]): D tubes of results.
        num_frames (int): F.

    Returns:
        :obj:`Overlaps`: Of what is there in some frame.
    """
    det_areas, obj_areas = (
        mask_areas(tubes, num_frames) for tubes in (dets, objs))
    ious = frame_ious(dets, objs, det_areas, obj_areas).transpose(0, 2, 1)
    in_crowd = np.zeros((num_frames, len(dets)), dtype=bool)
    for frame, areas in enumerate(det_areas.T if crowds else ()):
        regions = [tube[frame] for tube in crowds if tube[frame]]
        rows = np.flatnonzero(areas)
        if regions and len(rows):
            union = mask_utils.merge(regions)
            shares = mask_utils.iou([dets[row][frame] for row in rows],
                                    [union], [1])  # by the result's area
            in_crowd[frame, rows] = shares[:, 0] > CROWD_SHARE + EPS
    return leave_out_crowds(ious, obj_areas.T > 0, det_areas.T > 0, in_crowd)


def measure_apart(objs: Sequence[Tube], crowds: Sequence[Tube],
                  dets: Sequence[Tube], num_frames: int,
                  size: Tuple[int, int]) -> Overlaps:
    """Overlaps of tubes after every pixel was given to one of each side.

    Args:
        objs (Sequence[Sequence[dict | None]]): As in
            :func:`measure_overlaps`; the first has a pixel of several, crowds
            come behind all objects.
        crowds (Sequence[Sequence[dict | None]]): As there.
        dets (Sequence[Sequence[dict | None]]): As there, the first first.
        num_frames (int): F.
        size (tuple[int]): Height and width of the frames in pixels.

    Returns:
        :obj:`Overlaps`: Of what is there in some frame.
    """
    num_objs, tubes = len(objs), [*objs, *crowds]
    shape = (num_frames, len(tubes), len(dets))
    common = np.zeros(shape, dtype=np.int64)
    obj_areas, det_areas = (
        np.zeros((num_frames, num), dtype=np.int64) for num in shape[1:])
    for frame in range(num_frames):
        owners = [
            paint([tube[frame] for tube in side], size)
            for side in (tubes, dets)
        ]
        table = np.bincount(
            (owners[0] + 1) * (shape[2] + 1) + owners[1] + 1,
            minlength=(shape[1] + 1) * (shape[2] + 1))
        table = table.reshape(shape[1] + 1, shape[2] + 1)
        common[frame] = table[1:, 1:]
        obj_areas[frame], det_areas[frame] = \
            table[1:].sum(1), table[:, 1:].sum(0)
    in_crowd = common[:, num_objs:].sum(1) > \
        det_areas * (CROWD_SHARE + EPS)
    common, obj_areas = common[:, :num_objs], obj_areas[:, :num_objs]
    either = obj_areas[..., None] + det_areas[:, None] - common
    return leave_out_crowds(common / np.maximum(either, 1), obj_areas > 0,
                            det_areas > 0, in_crowd)


def paint(masks: Sequence[Optional[dict]], size: Tuple[int,
                                                       int]) -> np.ndarray:
    """The first of several masks that has each pixel of a frame.

    Args:
        masks (list[dict | None]): Compressed RLEs.
        size (tuple[int]): Height and width in pixels.

    Returns:
        np.ndarray: Position in the list or -1, column by column, int64, has
        shape (height * width, ).
    """
    owners = np.full(size[0] * size[1], NOBODY, dtype=np.int64)
    numbers = [number for number, mask in enumerate(masks) if mask]
    if numbers:
        pixels = mask_utils.decode([masks[number] for number in numbers])
        planes = pixels.reshape(-1, len(numbers), order='F').T.view(bool)
        for number, plane in zip(reversed(numbers), planes[::-1]):
            np.copyto(owners, number, where=plane)
    return owners


def leave_out_crowds(ious: np.ndarray, obj_seen: np.ndarray,
                     det_seen: np.ndarray, in_crowd: np.ndarray) -> Overlaps:
    """Leave out results in crowds, and what is absent from all frames.

    A mask in a crowd counts if it is matched to an object in its frame: one
    to one, pairs with an IoU of at least 0.5, for the highest sum of IoU.

    Args:
        ious (np.ndarray): See :class:`Overlaps`; changed.
        obj_seen (np.ndarray): See :class:`Overlaps`.
        det_seen (np.ndarray): See :class:`Overlaps`; changed.
        in_crowd (np.ndarray): Bool, masks of tracklets that lie in crowds,
            has shape (F, D).

    Returns:
        :obj:`Overlaps`: What is left.
    """
    for frame in np.flatnonzero(in_crowd.any(1)):
        values = ious[frame]
        _, matched = best_pairs(np.where(values >= IOU_THR - EPS, values, 0))
        excused = in_crowd[frame].copy()
        excused[matched] = False
        det_seen[frame, excused] = False
        values[:, excused] = 0
    objs, dets = obj_seen.any(0), det_seen.any(0)
    return Overlaps(ious[:, objs][..., dets], obj_seen[:, objs],
                    det_seen[:, dets])
