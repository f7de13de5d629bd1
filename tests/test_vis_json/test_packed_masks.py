# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy

import numpy as np
import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.vis_json import to_rles
from refinevis_mm.vis_json.packed_masks import (MaskError, compress_mask,
                                                pack_masks)
from refinevis_mm.vis_json.vis_writer import encode_counts

HEIGHT, WIDTH = 6, 5


def random_tube(seed):
    """Masks of 5 frames, None where there is no pixel."""
    rng = np.random.default_rng(seed)
    return [
        mask if mask.any() else None
        for mask in rng.random((5, HEIGHT, WIDTH)) < rng.random((5, 1, 1)) - .4
    ]


def as_lists(tube):
    return [
        None if mask is None else dict(
            size=[HEIGHT, WIDTH], counts=encode_counts(mask)) for mask in tube
    ]


def as_strings(tube):
    rles = as_lists(tube)
    for rle in filter(None, rles):
        rle['counts'] = mask_utils.frPyObjects(rle, HEIGHT,
                                               WIDTH)['counts'].decode()
    return rles


def pack(segmentations):
    """The packed masks and the codes of the errors by frame."""
    errors = []
    tube = pack_masks(segmentations, HEIGHT, WIDTH,
                      lambda frame, error: errors.append((frame, error.code)))
    return tube, errors


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('kind',
                         [as_lists, as_strings, lambda tube: mixed(tube)])
def test_round_trip(kind, seed):
    masks = random_tube(seed)
    tube, errors = pack(kind(masks))
    present = [t for t, mask in enumerate(masks) if mask is not None]
    assert errors == [] and tube.frames.tolist() == present
    for t, rle, area in zip(present, tube.rles([(HEIGHT, WIDTH)]), tube.areas):
        assert np.array_equal(mask_utils.decode(rle).astype(bool), masks[t])
        assert area == masks[t].sum()


def mixed(tube):
    """Both kinds of RLE in one annotation, which no fast path takes."""
    lists, strings = as_lists(tube), as_strings(tube)
    return [(lists, strings)[t % 2][t] for t in range(len(tube))]


def test_select():
    masks = [np.eye(HEIGHT, WIDTH, k, dtype=bool) for k in range(4)]
    tube, _ = pack(as_lists(masks))
    some = tube.select(np.array([False, True, False, True]))
    assert some.frames.tolist() == [1, 3]
    for k, rle in zip((1, 3), some.rles([(HEIGHT, WIDTH)])):
        assert np.array_equal(mask_utils.decode(rle), masks[k])


def test_empty_masks_are_left_out():
    empty = dict(size=[HEIGHT, WIDTH], counts=[HEIGHT * WIDTH])
    full = dict(size=[HEIGHT, WIDTH], counts=[0, HEIGHT * WIDTH])
    tube, errors = pack([empty, None, full, []])
    assert tube.frames.tolist() == [2] and tube.areas.tolist() == [30]
    assert sorted(errors) == [(0, 'empty-mask'), (3, 'empty-mask')]


def test_polygon():
    code, area = compress_mask([[0, 0, 2, 0, 2, 2, 0, 2]], HEIGHT, WIDTH)
    assert area == 4
    mask = mask_utils.decode(dict(size=[HEIGHT, WIDTH], counts=code))
    assert mask[:2, :2].all() and mask.sum() == 4


def test_points_beside_polygons_cover_nothing():
    square = [0, 0, 2, 0, 2, 2, 0, 2]
    alone = compress_mask([square], HEIGHT, WIDTH)
    for extra in ([3, 3], [1, 1, 4, 4], []):
        assert compress_mask([extra, square], HEIGHT, WIDTH) == alone
        rles = to_rles(
            dict(height=HEIGHT, width=WIDTH),
            dict(segmentations=[[square, extra]]))
        assert rles == [dict(size=[HEIGHT, WIDTH], counts=alone[0])]


BAD = [
    ({}, 'mask-form'),
    (3, 'mask-form'),
    ('abc', 'mask-form'),
    ([[1, 2, 3, 4]], 'mask-form'),
    ([[1, 2, 3, 4, 5, 6, 7]], 'mask-form'),
    ([[1, 2, 3, 4, 5, float('nan')]], 'mask-form'),
    ([[1, 2, 3, 4, 5, '6']], 'mask-form'),
    ([1, 2, 3, 4, 5, 6], 'mask-form'),
    (dict(size=[HEIGHT, WIDTH]), 'mask-form'),
    (dict(size=[WIDTH, HEIGHT], counts=[30]), 'mask-size'),
    (dict(size=None, counts=[30]), 'mask-size'),
    (dict(size=[HEIGHT, WIDTH], counts=[]), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts=''), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts=None), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts=[10, 2.5, 17.5]), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts=[10, 25]), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts=[-10, 40]), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts=[10**30]), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts='n0\xe9'), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts='n'), 'mask-counts'),
    (dict(size=[HEIGHT, WIDTH], counts='1'), 'mask-counts'),
]


@pytest.mark.parametrize('mask, code', BAD)
def test_bad_masks(mask, code):
    with pytest.raises(MaskError) as info:
        compress_mask(mask, HEIGHT, WIDTH)
    assert info.value.code == code and '\n' not in str(info.value)
    good = as_strings([np.eye(HEIGHT, WIDTH, dtype=bool)])
    for segmentations in ([mask], [mask, *good], [*good, None, mask]):
        tube, errors = pack(copy.deepcopy(segmentations))
        assert errors == [(segmentations.index(mask), code)]
        assert len(
            tube.frames) == len(segmentations) - 1 - (None in segmentations)


@pytest.mark.parametrize('counts',
                         [[3, 0, 9], [0] * 1000 + [12],
                          [2**32 - 1, 13, *[2**62] * 3, 2**62 - 2**32]])
def test_runs_that_crash_pycocotools(counts):
    with pytest.raises(MaskError, match='must be above 0'):
        compress_mask(dict(size=[3, 4], counts=counts), 3, 4)
