# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""MinVIS against runs recorded with the official code, stage by stage.

Reads ``tests/data/parity/minvis_model_tiny.npz`` and every file of its kind in
the folder ``REFINEVIS_PARITY_DIR``.
"""
import re

import pytest

from tests.parity.minvis_fixtures import (model_files, replay_frames,
                                          replay_training, replay_video,
                                          training_runs)
from tests.parity.replay import Recording, assert_compared

FILES = [pytest.param(path, id=path.stem) for path in model_files()]
RUNS = [
    pytest.param(path, run, id=f'{path.stem}-{run}')
    for path, run in training_runs()
]
# arrays that are inputs, or serve the comparison of others
INPUTS = re.compile(r'meta_json|image.*|state/.*|gt\d+/.*|video/images|'
                    r'.*_names|video/result_\w+/(hw|near_zero)')


def check(path, rows, belongs):
    """Everything recorded that belongs to a part was compared and agrees."""
    assert_compared(Recording(path), rows, INPUTS, belongs)


def part_of(name, runs):
    """The part of a file that an array belongs to."""
    first = name.split('/')[0]
    return first if first in runs or first == 'video' else 'frames'


@pytest.mark.parametrize('path', FILES)
def test_frames(path):
    runs = Recording(path).meta['runs']
    check(path, replay_frames(path),
          lambda name: part_of(name, runs) == 'frames')


@pytest.mark.parametrize('path', FILES)
def test_video(path):
    check(path, replay_video(path), lambda name: name.startswith('video/'))


@pytest.mark.parametrize('path, run', RUNS)
def test_training(path, run):
    check(path, replay_training(path, run),
          lambda name: name.startswith(f'{run}/'))


def test_visible_runs_are_there():
    runs = {f'{path.stem}/{run}' for path, run in training_runs()}
    assert {f'minvis_model_tiny/{run}'
            for run in ('A', 'B', 'B2frames')} <= runs
