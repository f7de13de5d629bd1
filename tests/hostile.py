# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Files that somebody has broken, by chance or on purpose.

Each trial has a seed, so a failure can be repeated. ``FUZZ_SECONDS=300`` lets
every family of trials run so long, in the place of a fixed number.
"""
import copy
import os
import random
import resource
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import torch

MARKUP = '</script><img src=x onerror="document.title=\'run\'">'
# what stands in the place of a value: other types, absurd sizes, ways out of
# a folder, markup, formulas, what moves the cursor of a terminal
VALUES = (None, True, False, -1, 0, 1, 2, 7, 255, 2**31, 2**40, 2**63, 10**18,
          10**400, 0.5, -0.5, 1e308, float('nan'), float('inf'), '', 'a', '36',
          'P', '~' * 9, '../../etc/passwd', '/etc/passwd', '..', MARKUP,
          '=1+1', '-', 'é\0\n', '\x1b[2J', 'x' * 5000, [], [[]], [None], {},
          dict(size=[3, 4], counts='36'), [0] * 100, [1e6, 1e6], 1e6)
MEMORY = 2**30  # bytes that a trial may take


def trials(family: str, num: int) -> Iterator[random.Random]:
    """Sources of random numbers, one for each trial.

    Args:
        family (str): What is tried, for the line that a long run prints.
        num (int): Trials of a short run.

    Yields:
        random.Random: Seeded with the number of the trial.
    """
    seconds, start, seed = float(os.environ.get('FUZZ_SECONDS', 0)), \
        time.monotonic(), 0
    while time.monotonic() < start + seconds if seconds else seed < num:
        yield random.Random(seed)
        seed += 1
    if seconds:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f'\n{family}: {seed} trials, {time.monotonic() - start:.0f} s, '
              f'peak {peak:.0f} MB')


@contextmanager
def one_line(*allowed: type) -> Iterator[List[Exception]]:
    """Let the project's errors pass, if they are one line; memory is bounded.

    Args:
        *allowed (type): Errors beside ValueError and OSError.

    Yields:
        list[Exception]: Gets the error, if there is one.
    """
    found: List[Exception] = []
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open('/proc/self/statm', encoding='ascii') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    try:
        yield found
    except (ValueError, OSError, *allowed) as error:
        found.append(error)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert all(map(str, found))


def places(value: Any, path: Tuple = ()) -> Iterator[Tuple]:
    """Ways to all parts of nested dicts and lists, the whole included."""
    yield path
    items: Sequence = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    for key, child in items:
        yield from places(child, (*path, key))


def mutated(value: Any, rng: random.Random,
            change: Callable[[Any, random.Random], Any]) -> Any:
    """A copy of nested dicts and lists with one to three parts changed.

    Args:
        value (Any): The whole; not changed.
        rng (random.Random): Chooses.
        change (Callable): Gives what stands in the place of a part; raises
            KeyError for nothing.
    """
    value = [copy.deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        *parents, key = rng.choice(list(places(value))[1:])
        owner = value
        for parent in parents:
            if isinstance(owner[parent], tuple):
                owner[parent] = list(owner[parent])
            owner = owner[parent]
        try:
            owner[key] = change(owner[key], rng)
        except KeyError:
            if len(parents):
                del owner[key]
    return value[0]


def other_value(value: Any, rng: random.Random) -> Any:
    """What stands in the place of a value; KeyError to leave it out."""
    kind = rng.randrange(8)
    if kind == 0:
        raise KeyError
    if kind == 1 and isinstance(value, list):
        return value * rng.choice((0, 2, 50))
    if kind == 2:
        return [value]
    if kind == 3 and isinstance(value, int):
        return value + rng.choice((-1, 1, 10**6, 10**12))
    if kind == 4 and isinstance(value, str):
        return mutated_bytes(value.encode(), rng).decode('latin-1')
    if kind == 5 and isinstance(value, dict) and value:
        return {
            rng.choice((key, 'x', 1, -1)): child
            for key, child in value.items()
        }
    return copy.deepcopy(rng.choice(VALUES))


def other_state(value: Any, rng: random.Random) -> Any:
    """The same for states, which hold tensors."""
    if not isinstance(value, torch.Tensor) or rng.random() < 0.1:
        return other_value(value, rng)
    kind = rng.randrange(7)
    if kind == 0:
        return value.to(rng.choice((torch.float64, torch.int64, torch.bool)))
    if kind == 1:
        return value[..., None]
    if kind == 2:
        return torch.cat([value, value]) if value.dim() else value[None]
    if kind == 3:
        return value[:0] if value.dim() else value * torch.nan
    if kind == 4:
        return torch.zeros(
            1, dtype=value.dtype).expand([10**5] * max(value.dim(), 2))
    if kind == 5 and value.is_floating_point():
        return value * rng.choice((torch.nan, torch.inf, -1, 1e30))
    return torch.randint(-2, 9, value.shape).to(value.dtype)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """The same bytes with some changed, lost or added."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.choice((0, 1, 16, 300)))
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, kind = rng.randrange(len(result) + 1), rng.randrange(5)
        if kind == 0:
            result[at:at + 1] = rng.randbytes(1)
        elif kind == 1 and at < len(result):
            result[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del result[at:at + rng.randrange(1, 9)]
        elif kind == 3:
            result[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            part = rng.randrange(len(result) + 1)
            result[at:at] = result[part:part + rng.choice((1, 8, 64))]
    if rng.random() < 0.1:
        del result[rng.randrange(len(result) + 1):]
    return bytes(result)
