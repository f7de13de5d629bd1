# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import os
import os.path as osp

import numpy as np
import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.datasets.vis_writer import atomic_dir, encode_counts


@pytest.mark.parametrize('start', [False, True])
def test_encode_counts_equals_pycocotools(start):
    mask = np.random.default_rng(0).random((13, 9)) < 0.4
    mask[0, 0] = start
    rle = mask_utils.frPyObjects(
        dict(size=[13, 9], counts=encode_counts(mask)), 13, 9)
    assert np.array_equal(mask_utils.decode(rle).astype(bool), mask)


def test_encode_counts_by_hand():
    # columns first: 0 1 | 1 0
    assert encode_counts(np.array([[0, 1], [1, 0]], bool)) == [1, 2, 1]
    assert encode_counts(np.ones((2, 2), bool)) == [0, 4]


def test_atomic_dir(tmp_path):
    out = tmp_path / 'a' / 'out'
    with pytest.raises(RuntimeError), atomic_dir(str(out)) as work:
        open(osp.join(work, 'half'), 'w').close()
        raise RuntimeError
    assert os.listdir(tmp_path / 'a') == []
    with atomic_dir(str(out)) as work:
        open(osp.join(work, 'one'), 'w').close()
        assert not out.exists()
    with pytest.raises(FileExistsError, match='--force'):
        with atomic_dir(str(out)):
            pass
    with atomic_dir(str(out), force=True) as work:
        open(osp.join(work, 'two'), 'w').close()
    assert os.listdir(out) == ['two']
    assert os.listdir(tmp_path / 'a') == ['out']
