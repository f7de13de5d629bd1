# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What trackers check and sort out before they match."""
from numbers import Integral, Real
from typing import Any, Dict

from torch import Tensor

from refinevis_mm.structures import check_form

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
        finite = values.isfinite()
        if not finite.all():
            raise ValueError(
                f'{name} must be finite, got {int((~finite).sum())} NaN or '
                f'infinite of {values.numel()} values')


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
