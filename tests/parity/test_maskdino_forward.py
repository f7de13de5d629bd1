# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Inference of MaskDINO against runs recorded with the official code.

Replays ``tests/data/parity`` and the folder ``REFINEVIS_PARITY_DIR``, stage by
stage; tolerances are those of the README beside the files.
"""
import numpy as np
import pytest
import torch

from tests.parity.maskdino_fixtures import (assert_group, forward_files,
                                            recorded_groups, replay_forward,
                                            replay_ops)
from tests.parity.replay import Comparison, Recording, random_rule

FILES = [pytest.param(path, id=path.stem) for path in forward_files()]
GROUPS = [
    pytest.param(path, group, id=f'{path.stem}-{group}')
    for path in forward_files() for group in recorded_groups(Recording(path))
]


@pytest.mark.parametrize('path, group', GROUPS)
def test_stage(path, group):
    rows = replay_ops(path) if group == 'ops' else replay_forward(path)
    assert_group(Recording(path), rows, group)


@pytest.mark.parametrize('path', FILES)
def test_inference_pass(path):
    recording, rows = Recording(path), replay_forward(path)
    for variant in recording.meta['variants']:
        assert_group(recording, rows, f'{variant}/inference')


@pytest.mark.parametrize('path', FILES)
def test_enough_is_recorded(path):
    """A file that records next to nothing would pass every stage."""
    recording, rows = Recording(path), replay_forward(path)
    compared = {row.name for row in rows}
    assert len(compared) >= 10
    for variant in recording.meta['variants']:
        assert f'{variant}/pred_logits' in compared
        assert f'{variant}/pred_boxes' in compared


def test_visible_files_are_there():
    stems = {path.stem for path in forward_files()}
    assert {'maskdino_r50tiny', 'maskdino_r50tiny_high2low'} <= stems


def test_comparison_fails_beyond_tolerance(tmp_path):
    np.savez(tmp_path / 'a.npz', x=np.float32([1.0, 2.0]))
    compare = Comparison(Recording(tmp_path / 'a.npz'))
    compare.close('x', torch.tensor([1.0, 2.0009]), 1e-3)
    compare.close('x', torch.tensor([1.0, 2.0011]), 1e-3)
    compare.close('x', torch.tensor([1.0, float('nan')]), 1e-3)
    compare.close('x', torch.tensor([1.0, 2.0, 3.0]), 1e-3)
    compare.close('not recorded', torch.tensor(0.0), 1e-3)
    assert [row.passed for row in compare.rows] == [True, False, False, False]
    assert compare.rows[0].max_abs == pytest.approx(9e-4, rel=1e-3)
    assert compare.rows[0].max_rel == pytest.approx(4.5e-4, rel=1e-3)


def test_random_rules():
    """Numbers by hand from the README of the fixtures."""
    with random_rule('A') as calls:
        values = torch.rand(1, 2, device='cpu')
        like = torch.rand_like(
            torch.zeros(3, dtype=torch.long), dtype=torch.float)
        ints = torch.randint_like(torch.zeros(4, dtype=torch.long), 2, 5)
    assert values.tolist() == [[
        pytest.approx(0.618034),
        pytest.approx(0.236068)
    ]]
    assert like.tolist()[2] == pytest.approx(0.854102)
    assert ints.tolist() == [2, 3, 4, 2]  # 2 + (3, 10, 17, 24) mod 3
    assert calls == [('rand', (1, 2)), ('rand_like', (3, )),
                     ('randint_like', (4, ))]
    with random_rule('B'):
        values = torch.rand((3, 1))
    expected = np.random.RandomState(3).random_sample(3).astype(np.float32)
    assert values.flatten().tolist() == expected.tolist()
    assert not torch.equal(torch.rand(3), values.flatten())
