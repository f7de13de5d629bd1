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
from argparse import Namespace
from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import (IO, Any, Callable, ClassVar, ContextManager, Dict, List,
                    Optional, Sequence, Union)
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
LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # and those before
# Where a checkpoint has its weights: of OpenMMLab and others, of detectron2;
# then averages of them, which are read where there is nothing else.
WEIGHTS = ('state_dict', 'model')
AVERAGES = ('ema_state_dict', 'ema_state', 'state_dict_ema', 'model_ema',
            'ema')


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


def _from_buffer(data: bytes, dtype: _Dtype, shape: tuple,
                 order: Any) -> np.ndarray:
    """Stand in for numpy's function that makes an array of protocol 5."""
    return np.frombuffer(data, dtype.numpy).reshape(shape, order=order).copy()


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

    What ``pickle.dump`` has written is read too, if it is made of numbers and
    numpy arrays, as the files of detectron2's model zoo.

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
        if _is_plain_pickle(file):
            return _PlainUnpickler(file, encoding='latin1').load()
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


class _PlainUnpickler(pickle._Unpickler):
    """Reads what ``pickle.dump`` has written, numbers and arrays alone.

    detectron2's model zoo has such files. Of the operations of a pickle only
    those are left that such a file needs, and of what they could call only
    what stands in for numpy and an ordered dict.
    """

    stack: List[Any]
    GLOBALS: Dict[str, Callable] = {
        'collections.OrderedDict': OrderedDict,
        'numpy.ndarray': _Array,
        'numpy.dtype': _Dtype,
        '_codecs.encode': _encode
    }
    # as numpy 1 and numpy 2 write them
    for core in ('numpy.core', 'numpy._core'):
        GLOBALS[f'{core}.multiarray._reconstruct'] = _Array.__new__
        GLOBALS[f'{core}.multiarray.scalar'] = _scalar
        GLOBALS[f'{core}.numeric._frombuffer'] = _from_buffer
    dispatch: ClassVar[Dict[int, Callable]] = {
        getattr(pickle, name)[0]:
        pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
        for name in (
            'PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 '
            'BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE '
            'BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BINSTRING '
            'SHORT_BINSTRING EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST'
            ' APPEND APPENDS EMPTY_DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL '
            'REDUCE BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET').split()
    }
    # a bytearray would be made of any length before it is read
    dispatch[pickle.BYTEARRAY8[0]] = dispatch[pickle.BINBYTES8[0]]

    def load(self) -> Any:
        """Read the file.

        Raises:
            pickle.UnpicklingError: If it wants more than numbers and arrays.
        """
        try:
            return super().load()
        except KeyError as error:
            raise pickle.UnpicklingError(
                'WeightsUnpickler error: operation '
                f'{error.args[0]!r} of a pickle is not allowed') from error

    def find_class(self, module: str, name: str) -> Any:
        """What stands in for a class or function."""
        path = f'{module}.{name}'
        if path not in self.GLOBALS:
            raise pickle.UnpicklingError(
                'WeightsUnpickler error: a pickle may hold numbers and '
                f'arrays, got {path:.99}')
        return self.GLOBALS[path]

    def load_build(self) -> None:
        """Set the state of an array or of its type."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (_Array, _Dtype)):
            raise pickle.UnpicklingError('WeightsUnpickler error: only '
                                         'arrays may have a state')
        self.stack[-1].__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build


def _is_plain_pickle(file: IO[bytes]) -> bool:
    """Whether ``pickle.dump`` has written a file, not ``torch.save``."""
    start = file.read(len(LEGACY))
    file.seek(0)
    return start[:1] == pickle.PROTO and start != LEGACY


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
        the prefix ``module.`` of distributed training, wherever the file has
        them: under ``state_dict`` or detectron2's ``model``, plain, or, where
        there is nothing else, averaged (``AVERAGES``).

    Raises:
        OSError: If the file is missing or cannot be fetched.
        CheckpointError: If it cannot be read or holds no weights.
    """
    # trainers store their command line beside the weights
    checkpoint = read_file(path, map_location, (Namespace, SimpleNamespace))
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'checkpoint "{path}" must hold a "state_dict" '
                              f'of tensors, got {type(checkpoint).__name__}')
    key = next((key for key in (*WEIGHTS, *AVERAGES)
                if isinstance(checkpoint.get(key), dict)), None)
    if key is None and 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=checkpoint)
    elif key not in (None, 'state_dict'):
        checkpoint['state_dict'] = checkpoint.pop(key)
    state_dict = _as_tensors(checkpoint.get('state_dict'))
    if state_dict is None:
        raise CheckpointError(
            f'checkpoint "{path}" must hold a "state_dict" of tensors, got '
            f'{_contents(checkpoint["state_dict"])}')
    if not _is_meta(checkpoint.get('meta')):
        raise CheckpointError(f'checkpoint "{path}" must hold a dict as '
                              '"meta", and lists of names as classes')
    checkpoint['state_dict'] = {
        key[len('module.'):] if key.startswith('module.') else key: value
        for key, value in state_dict.items()
    }
    return checkpoint


def _as_tensors(state_dict: Any) -> Optional[Dict[str, Tensor]]:
    """Weights as tensors; None for what is no dict of weights."""
    if not isinstance(state_dict, dict) or not state_dict or not all(
            isinstance(key, str) and
        (_is_dense(value) or isinstance(value, (np.ndarray, np.generic)))
            for key, value in state_dict.items()):
        return None
    return {
        key:
        value if isinstance(value, Tensor) else torch.from_numpy(
            np.asarray(value, value.dtype.newbyteorder('=')))
        for key, value in state_dict.items()
    }


def _contents(value: Any) -> str:
    """What a checkpoint has instead of weights, in a few words."""
    if not isinstance(value, dict) or not value:
        return type(value).__name__
    others = [
        f'{key} ({type(item).__name__})'[:40] for key, item in value.items()
        if not isinstance(item, Tensor)
    ]
    return _name_keys('other things', others) if others else 'other tensors'


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
