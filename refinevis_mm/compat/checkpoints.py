# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Safe loading and resuming of mmengine checkpoints.

From torch 2.6 on ``torch.load`` unpickles only what is known to be harmless.
An mmengine checkpoint also holds its own ``HistoryBuffer`` and numpy scalars;
they are added to torch's allow-list. The protection itself is never switched
off.
"""
import os.path as osp
import pickle
import re
from contextlib import nullcontext
from typing import Any, ContextManager, Dict, List, Sequence, Union
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

__all__ = [
    'CheckpointError', 'CheckpointMismatchError', 'allow_mmengine_globals',
    'read_file', 'read_checkpoint', 'check_state_dict',
    'load_checkpoint_strict', 'load_weights'
]

MAX_NAMED_KEYS = 10


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read or holds no weights."""


class CheckpointMismatchError(CheckpointError):
    """A checkpoint whose weights are not those of the model."""


def _statistics_method(owner: Any, name: str) -> Any:
    """Stand in for ``getattr`` while a checkpoint is unpickled.

    A ``HistoryBuffer`` pickles its statistics methods as
    ``getattr(HistoryBuffer, 'mean')``. The builtin would reach anything from
    there, so exactly this use of it is allowed.
    """
    from mmengine.logging.history_buffer import HistoryBuffer
    if owner is not HistoryBuffer or name not in ('mean', 'min', 'max',
                                                  'current'):
        raise pickle.UnpicklingError(
            'a checkpoint may read only the statistics of HistoryBuffer, got '
            f'"{name}" of {owner!r}')
    return getattr(HistoryBuffer, name)


def _mmengine_globals() -> List[Any]:
    """Classes and functions that mmengine pickles into its checkpoints."""
    from mmengine.logging.history_buffer import HistoryBuffer
    array, scalar = np.zeros(1), np.float64(0)
    scalars = ('bool', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16',
               'uint32', 'uint64', 'float16', 'float32', 'float64')
    allowed = [
        HistoryBuffer, np.ndarray, np.dtype,
        (_statistics_method, 'builtins.getattr')
    ]
    allowed += [np.dtype(name).type for name in scalars]
    allowed += sorted({type(np.dtype(name)) for name in scalars}, key=str)
    # numpy 1 writes `numpy.core`, numpy 2 writes `numpy._core`; a checkpoint
    # of either must load under both.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed.append((array.__reduce__()[0], f'{module}._reconstruct'))
        allowed.append((scalar.__reduce__()[0], f'{module}.scalar'))
    return allowed


def allow_mmengine_globals() -> None:
    """Allow-list what mmengine writes for ``torch.load(weights_only=True)``.

    Does nothing on torch < 2.5, whose allow-list cannot name a second path
    and whose ``torch.load`` does not use it by default.
    """
    version = tuple(int(part) for part in torch.__version__.split('.')[:2])
    if version >= (2, 5):
        torch.serialization.add_safe_globals(_mmengine_globals())


def read_file(
    path: str,
    map_location: Union[str, torch.device] = 'cpu',
    allowed: Sequence[type] = ()
) -> Any:
    """Read what ``torch.save`` has written, with ``weights_only=True``.

    Args:
        path (str): A file or an http(s) address.
        map_location (str | torch.device): Where tensors go. Defaults to
            'cpu'.
        allowed (Sequence[type]): Harmless classes that this one file may
            hold beside tensors; from torch 2.5 on. Defaults to ().

    Returns:
        Any: What is in it.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be read.
    """
    path = str(path)
    allow_mmengine_globals()  # forks take them away after their own reading
    try:
        with _also_allow(allowed):
            if urlparse(path).scheme in ('http', 'https'):
                return torch.hub.load_state_dict_from_url(
                    path, map_location=map_location, weights_only=True)
            if not osp.isfile(path):
                raise FileNotFoundError(f'checkpoint "{path}" does not exist')
            return torch.load(
                path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text spans many lines and advises to load it anyway
        match = re.search(r'WeightsUnpickler error:\s*(.+?)(?:\. Please|\n|$)',
                          str(error))
        raise CheckpointError(
            f'checkpoint "{path}" is damaged or holds more than weights: '
            f'{match.group(1) if match else "cannot be unpickled"}') from error
    except (RuntimeError, EOFError, IndexError, KeyError) as error:
        # torch's unpickler raises the last two on bytes that are no pickle
        reason = (str(error).strip() or 'file ends early').split('\n')[0]
        raise CheckpointError(
            f'checkpoint "{path}" cannot be read: {reason}') from error


def _also_allow(allowed: Sequence[type]) -> ContextManager:
    """Extend torch's allow-list inside of the context; see ``read_file``."""
    if not allowed or not hasattr(torch.serialization, 'safe_globals'):
        return nullcontext()
    return torch.serialization.safe_globals(list(allowed))


def read_checkpoint(
        path: str,
        map_location: Union[str, torch.device] = 'cpu') -> Dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``.

    Args:
        path (str): A file or an http(s) address.
        map_location (str | torch.device): Where tensors go. Defaults to
            'cpu'.

    Returns:
        dict: The checkpoint; its weights lie under ``state_dict``, without
        the prefix ``module.`` of distributed training.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be read or holds no weights.
    """
    checkpoint = read_file(path, map_location)
    if isinstance(checkpoint, dict) and 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=checkpoint)
    state_dict = checkpoint['state_dict'] if isinstance(checkpoint,
                                                        dict) else None
    if not isinstance(state_dict, dict) or not state_dict or not all(
            isinstance(value, Tensor) for value in state_dict.values()):
        raise CheckpointError(
            f'checkpoint "{path}" must hold a "state_dict" of tensors, got '
            f'{type(state_dict).__name__}')
    checkpoint['state_dict'] = {
        key[len('module.'):] if key.startswith('module.') else key: value
        for key, value in state_dict.items()
    }
    return checkpoint


def _name_keys(kind: str, keys: Sequence[str]) -> str:
    """Render at most ``MAX_NAMED_KEYS`` keys with their count."""
    names = ', '.join(keys[:MAX_NAMED_KEYS])
    more = ', ...' if len(keys) > MAX_NAMED_KEYS else ''
    return f'{len(keys)} {kind} ({names}{more})'


def check_state_dict(model: nn.Module,
                     state_dict: Dict[str, Tensor],
                     name: str = 'state_dict') -> None:
    """Check that weights are exactly those of a model.

    Precision is not compared: half-precision weights fit a float32 model.

    Args:
        model (nn.Module): The model, wrapped for distribution or not.
        state_dict (dict[str, Tensor]): The weights.
        name (str): What to call them in the message.

    Raises:
        CheckpointMismatchError: If a key is missing, unexpected or of
            another shape.
    """
    if is_model_wrapper(model):
        model = model.module
    own = model.state_dict()
    missing = [key for key in own if key not in state_dict]
    unexpected = [key for key in state_dict if key not in own]
    shapes = [
        f'{key} {tuple(state_dict[key].shape)} in the checkpoint, '
        f'{tuple(own[key].shape)} in the model' for key in own
        if key in state_dict and state_dict[key].shape != own[key].shape
    ]
    problems = [
        _name_keys(kind, keys)
        for kind, keys in (('missing keys', missing), ('unexpected keys',
                                                       unexpected),
                           ('keys of another shape', shapes)) if keys
    ]
    if problems:
        raise CheckpointMismatchError(
            f'"{name}" does not fit the model: {"; ".join(problems)}')


def load_weights(model: nn.Module,
                 state_dict: Dict[str, Tensor],
                 name: str = 'state_dict',
                 allow_mismatch: bool = False) -> List[str]:
    """Load weights into a model and refuse those of another architecture.

    Args:
        model (nn.Module): The model, wrapped for distribution or not.
        state_dict (dict[str, Tensor]): The weights.
        name (str): What to call them in the message.
        allow_mismatch (bool): Load what fits and skip missing, unexpected
            and other-shaped keys instead of raising. Defaults to False.

    Returns:
        list[str]: The keys that were loaded.

    Raises:
        CheckpointMismatchError: If the weights are not those of the model.
    """
    if is_model_wrapper(model):
        model = model.module
    if allow_mismatch:
        own = model.state_dict()
        state_dict = {
            key: value
            for key, value in state_dict.items()
            if key in own and own[key].shape == value.shape
        }
    else:
        check_state_dict(model, state_dict, name)
    model.load_state_dict(state_dict, strict=not allow_mismatch)
    return list(state_dict)


def load_checkpoint_strict(
        model: nn.Module,
        path: str,
        allow_mismatch: bool = False,
        map_location: Union[str, torch.device] = 'cpu') -> Dict[str, Any]:
    """Load a checkpoint into a model and refuse another architecture.

    Args:
        model (nn.Module): The model, wrapped for distribution or not.
        path (str): A file or an http(s) address.
        allow_mismatch (bool): Load what fits and skip missing, unexpected
            and other-shaped keys instead of raising. Defaults to False.
        map_location (str | torch.device): Where tensors are read to.
            Defaults to 'cpu'.

    Returns:
        dict: The checkpoint, with its ``meta`` where it has one.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be read or holds no weights.
        CheckpointMismatchError: If the weights are not those of the model.
    """
    checkpoint = read_checkpoint(path, map_location)
    load_weights(model, checkpoint['state_dict'], str(path), allow_mismatch)
    return checkpoint
