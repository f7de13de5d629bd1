# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Training steps of MaskDINO against runs recorded with the official code.

Replays matching, losses, denoising queries and gradients of
``tests/data/parity`` and of the folder ``REFINEVIS_PARITY_DIR`` under the
recorded random-number rule.
"""
import pytest

from tests.parity.maskdino_fixtures import (assert_group, recorded_groups,
                                            records_outputs, replay_training,
                                            training_runs)
from tests.parity.replay import Recording

RUNS = [
    pytest.param(path, run, id=f'{path.stem}-{run}')
    for path, run in training_runs()
]
GROUPS = [
    pytest.param(path, run, group, id=f'{path.stem}-{group}')
    for path, run in training_runs()
    for group in recorded_groups(Recording(path), f'{run}/')
]


@pytest.mark.parametrize('path, run, group', GROUPS)
def test_stage(path, run, group):
    assert_group(Recording(path), replay_training(path, run), group)


@pytest.mark.parametrize('path, run', RUNS)
def test_step(path, run):
    """No other losses, no other random numbers, the same losses of the
    recorded predictions."""
    recording, rows = Recording(path), replay_training(path, run)
    groups = ['random_calls', 'loss_names']
    groups += ['head'] if records_outputs(recording, run) else []
    for group in groups:
        assert_group(recording, rows, f'{run}/{group}')
    num_layers = len(recording.meta['layers'])
    num_images = len(recording.meta['runs'][run]['objects_per_image'])
    compared = [row.name for row in rows]
    assert sum('/match/' in name
               for name in compared) >= num_images * num_layers
    assert sum('/loss_raw/' in name for name in compared) >= 5 * num_layers
    assert f'{run}/loss_total' in compared


def test_visible_runs_are_there():
    runs = {f'{path.stem}/{run}' for path, run in training_runs()}
    assert {f'maskdino_losses_tiny/{run}'
            for run in ('A', 'B', 'Abitmask')} <= runs
    assert {
        f'maskdino_dn_tiny/{run}'
        for run in ('A100', 'B100', 'A16', 'A100empty1', 'A4none')
    } <= runs
