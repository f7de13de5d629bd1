# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The form that a saved state must have before it is used again.

Whoever has a file can edit it. ``torch.load(weights_only=True)`` runs nothing
of it, but says nothing of what comes out.
"""
import math
from typing import Any, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

MAX_INT = 2**63  # integers of a tensor lie below


class Values(NamedTuple):
    """Form of a tensor.

    Attributes:
        shape (tuple[int | None]): Its shape, None for any number.
        dtype (torch.dtype, optional): Its type. Defaults to None, any
            floating-point type.
    """

    shape: Tuple[Optional[int], ...]
    dtype: Optional[torch.dtype] = None


def check_form(value: Any, form: Any, what: str) -> None:
    """Raise ValueError unless a value has a form.

    ==================  =====================================================
    form                value
    ==================  =====================================================
    a type              one of it; a bool is no int, an int is a float; ints
                        are of 64 bits, floats finite
    :class:`Values`     a tensor with memory for all of its values
    ``[form]``          a list or tuple of such values
    ``(None, form)``    None or such a value
    ``{type: form}``    a dict with such keys and values
    ``{name: form}``    a dict with exactly these keys
    ==================  =====================================================

    Args:
        value (Any): What was loaded.
        form (Any): See above.
        what (str): What to call the value.

    Raises:
        ValueError: Naming the part that has another form.
    """
    if isinstance(form, Values):
        valid = _is_tensor(value, form)
    elif isinstance(form, dict):
        valid = isinstance(value, dict)
        if valid:
            _check_dict(value, form, what)
    elif isinstance(form, list):
        valid = isinstance(value, (list, tuple))
        for item in value if valid else ():
            check_form(item, form[0], what)
    elif isinstance(form, tuple):
        valid = True
        if value is not None:
            check_form(value, form[1], what)
    else:
        valid = _is_of_type(value, form)
    if not valid:
        raise ValueError(f'{what} must be {_name(form)}, got {_name(value)}')


def _check_dict(value: dict, form: dict, what: str) -> None:
    """Check the keys and values of a dict."""
    kind = next(iter(form))
    if isinstance(kind, type):
        for key, item in value.items():
            check_form(key, kind, f'each key of {what}')
            check_form(item, form[kind], what)
        return
    for name in form:
        if name not in value:
            raise ValueError(f'{what} lacks {name!r}')
        check_form(value[name], form[name], f'{name} of {what}')
    if len(value) > len(form):
        raise ValueError(f'{what} must have {sorted(form)} only, got '
                         f'{len(value)} keys')


def _is_of_type(value: Any, kind: type) -> bool:
    """Whether a value is one of a type."""
    if kind is float and isinstance(value, float):
        return math.isfinite(value)
    if kind in (int, float):
        return type(value) is int and -MAX_INT <= value < MAX_INT
    return isinstance(value, kind)


def _is_tensor(value: Any, form: Values) -> bool:
    """Whether a value is a tensor of a form that lies in memory."""
    if not isinstance(value, Tensor) or value.is_meta or \
            value.layout != torch.strided:
        return False
    is_type = value.is_floating_point() if form.dtype is None else \
        value.dtype == form.dtype
    return is_type and value.dim() == len(form.shape) and all(
        wanted in (None, side)
        for wanted, side in zip(form.shape, value.shape)) and value.numel(
        ) * value.element_size() <= value.untyped_storage().nbytes()


def _name(value: Any) -> str:
    """A form or a value in a message; values may be of any length."""
    if isinstance(value, Values):
        sides = ['n' if side is None else side for side in value.shape]
        return f'a {value.dtype or "floating-point"} tensor {tuple(sides)}'
    if isinstance(value, Tensor):
        return f'a {value.dtype} tensor {tuple(value.shape)}'
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (bool, float)) or value is None:
        return repr(value)
    if isinstance(value, int):
        return f'an integer of {value.bit_length()} bits'
    return type(value).__name__
