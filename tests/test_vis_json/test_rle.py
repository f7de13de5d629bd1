# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.vis_json.rle import compress_counts, sum_codes, sum_counts
from refinevis_mm.vis_json.vis_writer import encode_counts


def random_masks(seed):
    """Masks of all kinds, among them empty, full and coarse ones."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(rng.integers(1, 7)):
        height, width = rng.integers(1, 60, 2)
        kind = rng.integers(4)
        mask = rng.random((height, width)) < rng.random()
        if kind == 0:
            mask[:] = rng.integers(2)
        elif kind == 1:  # counts of several groups
            mask = np.repeat(np.repeat(mask, 17, 0), 9, 1)
        masks.append(mask)
    return masks


@pytest.mark.parametrize('seed', range(40))
def test_equal_to_pycocotools(seed):
    masks = random_masks(seed)
    codes = [
        mask_utils.encode(np.asfortranarray(mask, np.uint8))['counts']
        for mask in masks
    ]
    counts = [encode_counts(mask) for mask in masks]
    num_counts = np.array([len(numbers) for numbers in counts])
    lengths = np.array([len(code) for code in codes])
    flat = np.array([n for numbers in counts for n in numbers])

    data, got_lengths = compress_counts(flat, num_counts)
    assert data == b''.join(codes)
    assert got_lengths.tolist() == lengths.tolist()
    for sums in (sum_counts(flat, num_counts), sum_codes(data, lengths)):
        assert sums.totals.tolist() == [mask.size for mask in masks]
        assert sums.areas.tolist() == [mask.sum() for mask in masks]
        assert sums.lowest.tolist() == [min(numbers) for numbers in counts]


def test_no_masks():
    none = np.zeros(0, np.int64)
    data, lengths = compress_counts(none, none)
    assert data == b'' and len(lengths) == 0
    for sums in (sum_counts(none, none), sum_codes(b'', none)):
        assert [len(part) for part in sums] == [0, 0, 0]


def test_negative_counts_are_seen():
    # 3, 2, 4, then 3 less than two before it: -1, and 1 more: 5
    data, lengths = compress_counts(np.array([3, 2, 4, -1, 5]), np.array([5]))
    sums = sum_codes(data, lengths)
    assert (sums.totals[0], sums.areas[0], sums.lowest[0]) == (13, 1, -1)


@pytest.mark.parametrize('data', [b'0P', b'o', b' 1', b'1\x7f', b'PPPPPPPP1'])
def test_broken_codes(data):
    with pytest.raises(ValueError, match='run-length code'):
        sum_codes(b'12' + data, np.array([2, len(data)]))


@pytest.mark.parametrize(
    'counts',
    [
        [3, 0, 9],  # pycocotools writes behind a mask of such runs
        [0, 0, 12],
        [12, 0],
        [0] * 9 + [12],
    ])
def test_counts_that_are_no_runs(counts):
    data, lengths = compress_counts(np.array(counts), np.array([len(counts)]))
    for sums in (sum_counts(np.array(counts),
                            np.array([len(counts)])), sum_codes(data,
                                                                lengths)):
        assert sums.lowest[0] < 0


def test_sums_of_64_bits_do_not_wrap():
    """12 pixels, if 2^64 of them are none."""
    counts = np.array([2**32 - 1, 13, 2**62, 2**62, 2**62, 2**62 - 2**32])
    assert counts.sum() == 12
    assert sum_counts(counts, np.array([6])).lowest[0] < 0
