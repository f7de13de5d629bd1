# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Whole SeqFormer models against runs recorded with the official code.

Replays the network, results of whole videos and by clips, clip matching
alone and a training step of ``tests/data/parity`` and of the folder
``REFINEVIS_PARITY_DIR``, stage by stage.
"""
import pytest

from tests.parity.seqformer_fixtures import (Recording, assert_group,
                                             recorded_groups, replay_matching,
                                             replay_training, replay_video,
                                             seqformer_files, training_runs)

FILES = [pytest.param(path, id=path.stem) for path in seqformer_files()]


def _groups(prefix):
    return [
        pytest.param(path, group, id=f'{path.stem}-{group}')
        for path in seqformer_files()
        for group in recorded_groups(Recording(path), prefix)
    ]


TRAINING = [
    pytest.param(path, run, group, id=f'{path.stem}-{group}')
    for path, run in training_runs()
    for group in recorded_groups(Recording(path), f'{run}/')
]


@pytest.mark.parametrize('path, group', _groups('video/'))
def test_video(path, group):
    assert_group(Recording(path), replay_video(path), group)


@pytest.mark.parametrize('path, group', _groups('synth'))
def test_clip_matching(path, group):
    assert_group(Recording(path), replay_matching(path), group)


@pytest.mark.parametrize('path, run, group', TRAINING)
def test_training_step(path, run, group):
    assert_group(Recording(path), replay_training(path, run), group)


@pytest.mark.parametrize('path', FILES)
def test_enough_is_recorded(path):
    """A file that records next to nothing would pass every stage."""
    names = Recording(path).names
    assert {
        'video/pred_masks', 'video/result_same/scores', 'synth0/out_slots',
        'train/loss_total', 'train/gradnorm'
    } <= names
    assert any(name.startswith('video/clips_') for name in names)


def test_visible_file_is_there():
    assert 'seqformer_tiny' in [path.stem for path in seqformer_files()]
