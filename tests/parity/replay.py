# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What replays of recorded runs have in common: files, rules, comparisons.

Recordings lie in ``tests/data/parity`` and in the folder
``REFINEVIS_PARITY_DIR``; the README beside the files names every array and its
tolerance.
"""
import json
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import (Callable, Dict, Iterator, List, NamedTuple, Optional,
                    Pattern)
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from tests.parity.recorded_files import VISIBLE


class Recording:
    """One recorded file.

    Args:
        path (Path): An ``.npz`` file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = np.load(path)
        self.names = set(self._data.files)
        self.meta = json.loads(str(self._data['meta_json'])) \
            if 'meta_json' in self.names else {}

    @property
    def hp(self) -> dict:
        """dict: Recorded hyper-parameters."""
        return self.meta['hp']

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Tensor:
        return torch.as_tensor(self._data[name])

    def strings(self, name: str) -> List[str]:
        """An array of strings."""
        return [str(item) for item in self._data[name]]

    def below(self, prefix: str) -> Dict[str, Tensor]:
        """Arrays below ``prefix``, without it."""
        return {
            name[len(prefix):]: self[name]
            for name in self._data.files if name.startswith(prefix)
        }

    def state(self) -> Dict[str, Tensor]:
        """Official weights, of this file or of the one it names."""
        state = self.below('state/')
        if state:
            return state
        name = self.meta['weights_from']
        for folder in (self.path.parent, VISIBLE):
            if (folder / name).is_file():
                return Recording(folder / name).below('state/')
        raise FileNotFoundError(f'{self.path.name} needs {name}, neither '
                                f'beside it nor in {VISIBLE.name}')


def one_thread(function: Callable) -> Callable:
    """Run a function on one thread, as the recorded code; tiny tensors."""

    @wraps(function)
    def wrapped(*args):
        num_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args)
        finally:
            torch.set_num_threads(num_threads)

    return wrapped


class Row(NamedTuple):
    """Comparison of one array.

    Attributes:
        name (str): Name of the recorded array.
        max_abs (float): Largest absolute difference.
        max_rel (float): The same relative to the largest recorded entry.
        tolerance (str): What is allowed.
        passed (bool): Whether every entry lies inside the tolerance.
    """

    name: str
    max_abs: float
    max_rel: float
    tolerance: str
    passed: bool


class Comparison:
    """Compares arrays with recorded ones and keeps a row for each.

    Args:
        recording (:obj:`Recording`): The recorded file.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.rows: List[Row] = []

    def close(self,
              name: str,
              actual: Tensor,
              atol: float,
              rtol: float = 0.0,
              expected: Optional[Tensor] = None) -> None:
        """Compare an array within a tolerance, if it is recorded."""
        if name not in self.recording:
            return
        if expected is None:
            expected = self.recording[name]
        actual = torch.as_tensor(actual).detach().cpu()
        same = actual.shape == expected.shape
        diff = (actual.double() - expected.double()).abs() if same else \
            torch.tensor(float('inf'))
        passed = same and bool(
            (diff <= atol + rtol * expected.double().abs()).all())
        self._add(name, diff, expected,
                  f'{atol:g}' + (f' + {rtol:g} rel' if rtol else ''), passed)

    def equal(self,
              name: str,
              actual: Tensor,
              expected: Optional[Tensor] = None) -> None:
        """Compare an array exactly, if it is recorded."""
        self.close(name, actual, 0.0, expected=expected)

    def check(self, name: str, passed: bool, diff: Tensor, expected: Tensor,
              tolerance: str) -> None:
        """Keep the result of a comparison made outside."""
        self._add(name, diff, expected, tolerance, passed)

    def _add(self, name: str, diff: Tensor, expected: Tensor, tolerance: str,
             passed: bool) -> None:
        diff, expected = diff.double(), expected.double().abs()
        max_abs = float(diff.max()) if diff.numel() else 0.0
        scale = float(expected.max()) if expected.numel() else 0.0
        self.rows.append(
            Row(name, max_abs, max_abs / scale if scale else max_abs,
                tolerance, bool(passed)))


def unpack(packed: Tensor, width: int) -> Tensor:
    """Bool masks from bits."""
    return torch.from_numpy(
        np.unpackbits(packed.numpy(), axis=-1, count=int(width)).astype(bool))


# --- random-number rules of the fixtures' README, section 3 ---------------


def _rule_a(numel: int) -> np.ndarray:
    return (np.arange(1, numel + 1) * 0.6180339887498949) % 1.0


def _rule_b(numel: int) -> np.ndarray:
    return np.random.RandomState(numel).random_sample(numel)


@lru_cache(maxsize=4)
def _uniform(rule: str, numel: int) -> Tensor:
    values = {'A': _rule_a, 'B': _rule_b}[rule](numel).astype(np.float32)
    values[values >= 1] = 0
    return torch.from_numpy(values)


@contextmanager
def random_rule(rule: str) -> Iterator[List[tuple]]:
    """Replace torch's random numbers by those of a rule.

    Args:
        rule (str): 'A' or 'B'.

    Yields:
        list[tuple]: Name and shape of every call, in order.
    """
    calls = []

    def draw(name, shape, device, dtype):
        calls.append((name, tuple(shape)))
        values = _uniform(rule, int(np.prod(shape))).clone().view(shape)
        return values.to(device=device, dtype=dtype)

    def rand(*size, device=None, dtype=None, **kwargs):
        size = size[0] if len(size) == 1 and not isinstance(size[0], int) \
            else size
        return draw('rand', size, device, dtype)

    def rand_like(tensor, dtype=None, **kwargs):
        return draw('rand_like', tensor.shape, tensor.device, dtype
                    or tensor.dtype)

    def randint_like(tensor, low, high=None, **kwargs):
        low, high = (0, low) if high is None else (low, high)
        calls.append(('randint_like', tuple(tensor.shape)))
        values = low + (7 * torch.arange(tensor.numel()) + 3) % (high - low)
        return values.view(tensor.shape).to(tensor)

    with mock.patch.multiple(
            torch, rand=rand, rand_like=rand_like, randint_like=randint_like):
        yield calls


# --- coverage -------------------------------------------------------------


def compared_groups(recording: Recording,
                    inputs: Pattern,
                    group_of: Callable[[str], str],
                    prefix: str = '') -> List[str]:
    """Groups of the arrays to compare.

    Args:
        recording (:obj:`Recording`): The recorded file.
        inputs (Pattern): Arrays that are inputs or serve the comparison of
            others.
        group_of (Callable): What is tested together, by name.
        prefix (str): Only arrays below it. Defaults to ''.

    Returns:
        list[str]: Their groups, sorted.
    """
    return sorted({
        group_of(name)
        for name in recording.names
        if name.startswith(prefix) and not inputs.fullmatch(name)
    })


def assert_compared(recording: Recording, rows: List[Row], inputs: Pattern,
                    belongs: Callable[[str], bool]) -> None:
    """Everything recorded of a part was compared and agrees.

    Args:
        recording (:obj:`Recording`): The recorded file.
        rows (list[:obj:`Row`]): Comparisons.
        inputs (Pattern): See :func:`compared_groups`.
        belongs (Callable): Whether a name is of the part.
    """
    recorded = {
        name
        for name in recording.names
        if belongs(name) and not inputs.fullmatch(name)
    }
    rows = [row for row in rows if belongs(row.name)]
    assert rows, 'nothing was compared'
    missing = sorted(recorded - {row.name for row in rows})
    assert not missing, f'not compared: {missing}'
    wrong = [row for row in rows if not row.passed]
    assert not wrong, '\n'.join(map(str, wrong))
