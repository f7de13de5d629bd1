# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What trackers check and sort out before they match."""
from numbers import Integral, Real
from typing import Any, Dict

import numpy as np
import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch import Tensor

from refinevis_mm.structures import check_form

# normalised boxes can be smaller than the guard of `bbox_overlaps`, 1e-6
BOX_AREA_EPS = 1e-12

# of what trackers remember between two frames
FORM = dict(
    memory_type=str,
    memory_len=int,
    embed_dims=(None, int),
    last_frame_id=int,
    next_id=int,
    mask_size=(None, [int]),
    forgotten=[[int]],
    tracks=(None, dict))


def check_shares(**values: float) -> None:
    """Raise ValueError, naming the argument, if one is not in [0, 1]."""
    for name, value in values.items():
        if not isinstance(value, Real) or not 0 <= value <= 1:
            raise ValueError(f'{name} must lie in [0, 1], got {value!r}')


def check_counts(**values: int) -> None:
    """Raise ValueError, naming the argument, if one is below 1."""
    for name, value in values.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f'{name} must be >= 1, got {value!r}')


def check_finite(**tensors: Tensor) -> None:
    """Raise ValueError, naming the tensor, if one holds NaN or infinities."""
    for name, values in tensors.items():
        bad = int((~values.isfinite()).sum())
        if bad:
            raise ValueError(
                f'{name} must be finite, got {bad} NaN or infinite of '
                f'{values.numel()} values')


def check_keys(state: Dict[str, Any], own: Dict[str, Any]) -> None:
    """Raise ValueError if a state is of another form than a tracker's own."""
    if set(state) != set(own):
        raise ValueError('tracker state must have the keys of state_dict(), '
                         'got a difference in '
                         f'{sorted(map(str, set(state) ^ set(own)))}')
    form = {name: FORM.get(name, object) for name in own}
    check_form(state, form, 'tracker state')
    if any(len(item) != 2 for item in state.get('forgotten', ())):
        raise ValueError('forgotten tracks of a tracker state must be ids '
                         'and frames')


def check_order(frame_id: int, last_frame_id: int) -> None:
    """Raise ValueError if a frame does not come after the last one."""
    if frame_id <= last_frame_id:
        raise ValueError(
            'frame_id must grow from call to call (reset() starts a new '
            f'video), got {frame_id} after {last_frame_id}')


@torch.no_grad()
def classwise_nms(boxes: Tensor, labels: Tensor, thr: float) -> Tensor:
    """Greedy NMS of boxes within each class.

    Args:
        boxes (Tensor): Normalised (cx, cy, w, h), sorted by falling score,
            has shape (M, 4).
        labels (Tensor): Classes, has shape (M, ).
        thr (float): A box is removed by a kept better one of its class if
            their IoU is above this.

    Returns:
        Tensor: Ascending long indices of the kept boxes, has shape
        (num_kept, ).
    """
    corners = bbox_cxcywh_to_xyxy(boxes.float())
    overlaps = bbox_overlaps(corners, corners, eps=BOX_AREA_EPS)
    overlaps *= labels[:, None] == labels[None]
    keep = greedy_nms(overlaps.cpu().numpy(), thr)
    return torch.from_numpy(keep).to(boxes.device)


def greedy_nms(overlaps: np.ndarray, thr: float) -> np.ndarray:
    """Indices kept by greedy NMS of rows sorted by descending score.

    Args:
        overlaps (np.ndarray): IoU, has shape (num, num).
        thr (float): A row is removed by a kept one before it if their IoU is
            above this.

    Returns:
        np.ndarray: Ascending int64 indices, has shape (num_kept, ).
    """
    above = overlaps > np.float32(thr)
    keep = np.ones(len(above), dtype=bool)
    for i in range(len(above)):
        if keep[i]:
            keep[i + 1:] &= ~above[i, i + 1:]
    return keep.nonzero()[0]
