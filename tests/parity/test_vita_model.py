# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""VITA against runs recorded with the official code, stage by stage.

Reads ``tests/data/parity/vita_tiny.npz`` and every file of its kind in the
folder ``REFINEVIS_PARITY_DIR``.
"""
import re

import pytest

from tests.parity.replay import Recording, assert_compared
from tests.parity.vita_fixtures import (model_files, replay_module,
                                        replay_training, replay_video,
                                        training_runs)

FILES = [pytest.param(path, id=path.stem) for path in model_files()]
RUNS = [
    pytest.param(path, run, id=f'{path.stem}-{run}')
    for path, run in training_runs()
]
# arrays that are inputs, or serve the comparison of others
INPUTS = re.compile(r'meta_json|state/.*|clip\d+/.*|video/images|'
                    r'mod/frame_query|mod/mask_features|'
                    r'.*_names|video/result_\w+/(hw|near_zero)')


def check(path, rows, *parts):
    """Everything recorded of some parts was compared and agrees."""
    assert_compared(
        Recording(path), rows, INPUTS,
        lambda name: name.split('/')[0] in parts)


@pytest.mark.parametrize('path', FILES)
def test_module(path):
    check(path, replay_module(path), 'mod')


@pytest.mark.parametrize('path', FILES)
def test_video(path):
    check(path, replay_video(path), 'video')


@pytest.mark.parametrize('path, run', RUNS)
def test_training(path, run):
    check(path, replay_training(path, run), run, 'train')


def test_visible_runs_are_there():
    runs = {f'{path.stem}/{run}' for path, run in training_runs()}
    assert {'vita_tiny/A', 'vita_tiny/B'} <= runs


@pytest.mark.parametrize('path', FILES)
def test_no_array_is_left_out(path):
    recording = Recording(path)
    parts = {'mod', 'video', 'train', *recording.meta['runs']}
    assert {
        name
        for name in recording.names
        if not INPUTS.fullmatch(name) and name.split('/')[0] not in parts
    } == set()
