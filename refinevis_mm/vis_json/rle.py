# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Run-length codes of many masks at once.

COCO's compressed form writes each count, from the fourth on as difference to
the count two before it, in groups of 5 bits, least significant first; a
character is 48 + group, + 32 where groups follow, and the number is signed by
the highest bit of its last group. pycocotools handles one mask a call, which
is too slow to read a data set.

Shapes: ``M`` masks, ``V`` counts of all masks, ``B`` characters of all masks.
"""
from typing import NamedTuple, Tuple

import numpy as np

from refinevis_mm.structures import MAX_PIXELS

FIRST_CHAR = 48
MAX_GROUPS = 6  # counts below 2^29


def compress_counts(counts: np.ndarray,
                    num_counts: np.ndarray) -> Tuple[bytes, np.ndarray]:
    """Counts -> COCO's compressed strings.

    Args:
        counts (np.ndarray): Run lengths of all masks one after the other,
            not negative, below 2^32. Int64, has shape (V, ).
        num_counts (np.ndarray): Counts of each mask, at least 1. Has shape
            (M, ).

    Returns:
        tuple[bytes, np.ndarray]: The strings one after the other, B bytes,
        and the length of each, has shape (M, ).
    """
    firsts = _firsts(num_counts)
    values = counts.copy()
    values[2:] -= counts[:-2]
    for position in range(3):  # written as they are
        inds = firsts[num_counts > position] + position
        values[inds] = counts[inds]
    size = np.where(values < 0, ~values, values)
    num_groups = np.ones(len(values), np.int64)
    limit = 16
    while (more := size >= limit).any():
        num_groups += more
        limit <<= 5
    ends = np.cumsum(num_groups)
    chars = np.empty(ends[-1] if len(ends) else 0, np.uint8)
    for group in range(int(num_groups.max(initial=0))):
        inds = np.flatnonzero(num_groups > group)
        code = (values[inds] >> (5 * group)) & 31
        code[num_groups[inds] > group + 1] += 32
        chars[(ends - num_groups)[inds] + group] = code + FIRST_CHAR
    lengths = np.add.reduceat(num_groups, firsts) if len(firsts) else firsts
    return chars.tobytes(), lengths


class CountSums(NamedTuple):
    """What the counts of M masks amount to, each of shape (M, ).

    Attributes:
        totals (np.ndarray): Pixels covered, those of the background too.
        areas (np.ndarray): Pixels of the mask: every second count.
        lowest (np.ndarray): Negative if the code is broken: a count is
            negative, none but the first is 0, or one is above
            :data:`MAX_PIXELS`.
    """
    totals: np.ndarray
    areas: np.ndarray
    lowest: np.ndarray


def sum_counts(counts: np.ndarray, num_counts: np.ndarray) -> CountSums:
    """Sums over the counts of each mask.

    Args:
        counts (np.ndarray): Counts of all masks one after the other. Int64,
            has shape (V, ).
        num_counts (np.ndarray): Counts of each mask, at least 1. Has shape
            (M, ).

    Returns:
        CountSums: The sums.
    """
    firsts = _firsts(num_counts)
    if not len(firsts):
        return CountSums(firsts, firsts, firsts)
    # no sum leaves 64 bits; pycocotools writes behind a mask with empty runs
    broken = (counts > MAX_PIXELS) | (counts < 1)
    broken[firsts] = (counts[firsts] < 0) | (counts[firsts] > MAX_PIXELS)
    counts = np.where(broken, -1, counts)
    totals = np.add.reduceat(counts, firsts)
    evens = counts.copy()
    evens[1::2] = 0
    even_sums = np.add.reduceat(evens, firsts)
    areas = np.where(firsts % 2 == 0, totals - even_sums, even_sums)
    return CountSums(totals, areas, np.minimum.reduceat(counts, firsts))


def sum_codes(data: bytes, lengths: np.ndarray) -> CountSums:
    """Sums over the counts of compressed strings, without decoding them.

    Args:
        data (bytes): The strings one after the other, B bytes.
        lengths (np.ndarray): Length of each, at least 1. Has shape (M, ).

    Returns:
        CountSums: The sums.

    Raises:
        ValueError: If a string is no run-length code.
    """
    if not len(lengths):
        return sum_counts(np.zeros(0, np.int64), lengths)
    chars = np.frombuffer(data, np.uint8) - np.uint8(FIRST_CHAR)  # wraps
    last = chars < 32
    ends = np.cumsum(lengths)
    if (chars > 63).any() or not last[ends - 1].all():
        raise ValueError('not a run-length code')
    values = _values_of(chars, np.flatnonzero(last))
    num_counts = np.add.reduceat(last, ends - lengths, dtype=np.int64)
    firsts = _firsts(num_counts)
    # sums over every second value; those of a mask start at its second and
    # third value, so what came before them has to be taken away
    sums = np.empty(len(values), np.int64)
    np.cumsum(values[::2], out=sums[::2])
    np.cumsum(values[1::2], out=sums[1::2])
    before_odd = np.where(firsts > 0, sums[firsts - 1], 0)
    before_even = sums[firsts]
    first_values = values[firsts]
    totals, areas, lowest = first_values.astype(np.int64), 0, first_values
    fill = np.iinfo(np.int64).max
    for parity in range(2):
        part = sums[parity::2]
        # where the part of each mask begins and how many values it has,
        # without the mask's first value
        start = (firsts + 1 - parity + 1) // 2
        stop = (firsts + num_counts - parity + 1) // 2
        count = stop - start
        odd = (firsts + parity) % 2 == 1
        before = np.where(odd, before_odd, before_even)
        padded = np.concatenate([part, [fill]])
        inds = _interleave(start, stop)
        low = np.minimum.reduceat(padded, inds)[::2] - before
        padded[-1] = -fill
        high = np.maximum.reduceat(padded, inds)[::2] - before
        cumulated = np.concatenate([[0], np.cumsum(part)])
        size = cumulated[stop] - cumulated[start] - count * before
        totals += size
        areas += np.where(odd, size, 0)
        lowest = np.where(count > 0, np.minimum(lowest, low), lowest)
        lowest[(count > 0) & ((low < 1) | (high > MAX_PIXELS))] = -1
    return CountSums(totals, areas, lowest)


def _values_of(chars: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Signed numbers (V, ) whose last groups are at ``ends``."""
    top = chars[ends].astype(np.int32)
    values = top - ((top & 16) << 1)
    inds, group_ends = np.arange(len(ends)), ends
    for _ in range(1, MAX_GROUPS + 1):
        # before the first character: the last one, which ends a number
        groups = chars[group_ends - 1]
        more = np.flatnonzero(groups >= 32)
        if not len(more):
            return values
        inds = inds[more]
        group_ends = group_ends[more] - 1
        values[inds] = (values[inds] << 5) + (groups[more] & 31)
    raise ValueError('a count of the run-length code is too large')


def _interleave(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Indices for ``reduceat``: starts and stops in turn."""
    return np.stack([starts, stops], 1).ravel()


def _firsts(lengths: np.ndarray) -> np.ndarray:
    """Where each of the parts of the given lengths begins."""
    return np.cumsum(lengths) - lengths
