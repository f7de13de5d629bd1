# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Safe loading and resuming of mmengine checkpoints.

From torch 2.6 on ``torch.load`` unpickles only what is known to be harmless.
An mmengine checkpoint also holds its own ``HistoryBuffer`` and numpy scalars;
they are added to torch's allow-list. The protection itself is never switched
off.
"""
import io
import os.path as osp
import pickle
import re
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import (IO, Any, Callable, ContextManager, Dict, List, Sequence,
                    Union)
from urllib.parse import urlparse

import numpy as np
import torch
import torch._weights_only_unpickler as unpickler
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

__all__ = [
    'CheckpointError', 'CheckpointMismatchError', 'allow_mmengine_globals',
    'read_file', 'read_bytes', 'read_checkpoint', 'check_state_dict',
    'load_checkpoint_strict', 'load_weights'
]

MAX_NAMED_KEYS = 10
# of the arrays that a checkpoint may hold
DTYPES = ('b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4',
          'f8')
ZIP = b'PK\x03\x04'  # so begin the files of torch 1.6 and later


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


def _encode(text: str, encoding: str = '') -> bytes:
    """Stand in for ``_codecs.encode``, which bytes are pickled with.

    Other encodings than this one make their input longer, and can be called
    on what they give.
    """
    if encoding != 'latin1':
        raise pickle.UnpicklingError('bytes of a checkpoint must be encoded '
                                     f'as latin1, got {encoding!r:.40}')
    return text.encode(encoding)


class _Dtype:
    """Stand in for ``np.dtype`` while a checkpoint is unpickled.

    numpy believes what a pickle says of a dtype: its numbers can be made
    addresses of objects.
    """

    def __init__(self, code: str = '', *_: Any) -> None:
        if code not in DTYPES:
            raise pickle.UnpicklingError('arrays of a checkpoint must hold '
                                         f'numbers, got {code!r:.40}')
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array(np.ndarray):
    """Stand in for ``np.ndarray``; what it is pickled as again."""

    def __new__(cls, *_: Any) -> '_Array':
        return super().__new__(cls, 0)

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, is_fortran, data = state
        super().__setstate__((version, shape, dtype.numpy, is_fortran, data))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.array(self).__reduce_ex__(protocol)


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    """Stand in for numpy's function that makes a pickled scalar."""
    return np.frombuffer(data, dtype.numpy, 1)[0]


def _mmengine_globals() -> List[Any]:
    """Classes and functions that mmengine pickles into its checkpoints."""
    from mmengine.logging.history_buffer import HistoryBuffer
    allowed = [
        HistoryBuffer, (_Array, 'numpy.ndarray'), (_Dtype, 'numpy.dtype'),
        (_statistics_method, 'builtins.getattr')
    ]
    # numpy 1 writes `numpy.core`, numpy 2 writes `numpy._core`; a checkpoint
    # of either must load under both.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed.append((_Array.__new__, f'{module}._reconstruct'))
        allowed.append((_scalar, f'{module}.scalar'))
    return allowed


def allow_mmengine_globals() -> None:
    """Allow-list what mmengine writes for ``torch.load(weights_only=True)``.

    For the whole process: whoever reads with ``weights_only=True`` gets numpy
    arrays of a subclass that cannot run code.

    Adds nothing on torch < 2.5, whose allow-list cannot name a second path
    and whose ``torch.load`` does not use it by default.

    Of torch's own list, a bytearray leaves it, which a pickle may want of any
    length and ``torch.save`` never writes, and ``_codecs.encode`` gets less.
    """
    own: Callable = getattr(unpickler, '_get_allowed_globals', dict)
    own().pop('builtins.bytearray', None)
    own()['_codecs.encode'] = _encode
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
        OSError: If the file is missing or cannot be fetched.
        CheckpointError: If it cannot be read, or would unpack to more than
            its length.
    """
    name = str(path)
    path = _fetch(name) if urlparse(name).scheme in ('http', 'https') else name
    if not osp.isfile(path):
        raise FileNotFoundError(f'checkpoint "{name}" does not exist')
    with open(path, 'rb') as file:
        return _read(file, f'checkpoint "{name}"', map_location, allowed)


def read_bytes(data: bytes, name: str) -> Any:
    """Read what ``torch.save`` has written, with ``weights_only=True``.

    Args:
        data (bytes): What it has written.
        name (str): What to call it in messages.

    Returns:
        Any: What is in it; tensors are on the CPU.

    Raises:
        CheckpointError: As of :func:`read_file`.
    """
    return _read(io.BytesIO(data), name)


def _read(
    file: IO[bytes],
    name: str,
    map_location: Union[str, torch.device] = 'cpu',
    allowed: Sequence[type] = ()
) -> Any:
    """Read an open file; see :func:`read_file`."""
    allow_mmengine_globals()  # forks take them away after their own reading
    try:
        _refuse_packed(file)
        with _also_allow(allowed):
            return torch.load(
                file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text spans many lines and advises to load it anyway
        match = re.search(r'WeightsUnpickler error:\s*(.+?)(?:\. Please|\n|$)',
                          str(error))
        raise CheckpointError(
            f'{name} is damaged or holds more than weights: '
            f'{match.group(1) if match else "cannot be unpickled"}') from error
    except Exception as error:  # torch has all kinds of them for bad files
        reason = (str(error).strip() or 'file ends early').split('\n')[0]
        raise CheckpointError(f'{name} cannot be read: {reason}') from error


def _refuse_packed(file: IO[bytes]) -> None:
    """Refuse a file that unpacks to more than its length.

    ``torch.save`` packs nothing, but torch unpacks what others have packed.
    """
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(len(ZIP)) == ZIP:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        if any(item.compress_type
               for item in members) or sum(item.file_size
                                           for item in members) > length:
            raise ValueError('it unpacks to more than its length')
    file.seek(0)


def _fetch(address: str) -> str:
    """Fetch a file into torch's cache if it is not there.

    torch's own function unpacks what it has fetched.
    """
    path = Path(torch.hub.get_dir(), 'checkpoints',
                osp.basename(urlparse(address).path))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(path))
    return str(path)


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
        OSError: If the file is missing or cannot be fetched.
        CheckpointError: If it cannot be read or holds no weights.
    """
    checkpoint = read_file(path, map_location)
    if isinstance(checkpoint, dict) and 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=checkpoint)
    state_dict = checkpoint['state_dict'] if isinstance(checkpoint,
                                                        dict) else None
    if not isinstance(state_dict, dict) or not state_dict or not all(
            isinstance(key, str) and _is_dense(value)
            for key, value in state_dict.items()):
        raise CheckpointError(
            f'checkpoint "{path}" must hold a "state_dict" of tensors, got '
            f'{type(state_dict).__name__}')
    if not _is_meta(checkpoint.get('meta')):
        raise CheckpointError(f'checkpoint "{path}" must hold a dict as '
                              '"meta", and lists of names as classes')
    checkpoint['state_dict'] = {
        key[len('module.'):] if key.startswith('module.') else key: value
        for key, value in state_dict.items()
    }
    return checkpoint


def _is_meta(meta: Any) -> bool:
    """Whether a value can be what is known of a checkpoint."""
    if not isinstance(meta, (dict, type(None))):
        return False
    data = (meta or {}).get('dataset_meta')
    if not isinstance(data, (dict, type(None))):
        return False
    lists = [(side or {}).get(key) for side in (meta, data)
             for key in ('classes', 'CLASSES')]
    return all(
        names is None or isinstance(names, (list, tuple)) and all(
            isinstance(name, str) for name in names) for names in lists)


def _is_dense(value: Any) -> bool:
    """Whether a value is a tensor with all its numbers in memory."""
    return isinstance(value, Tensor) and value.layout == torch.strided and \
        not value.is_meta and not value.is_quantized


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
        OSError: If the file is missing or cannot be fetched.
        CheckpointError: If it cannot be read or holds no weights.
        CheckpointMismatchError: If the weights are not those of the model.
    """
    checkpoint = read_checkpoint(path, map_location)
    load_weights(model, checkpoint['state_dict'], str(path), allow_mismatch)
    return checkpoint
