# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Whole IDOL models against runs recorded with the official code.

Replays the frame model, image results, video results and a training step of
``tests/data/parity`` and of the folder ``REFINEVIS_PARITY_DIR``, stage by
stage.
"""
import pytest

from tests.parity.idol_model_fixtures import (Recording, assert_group,
                                              idol_model_files,
                                              recorded_groups, replay_forward,
                                              replay_images, replay_training,
                                              replay_video, training_runs)

FILES = [pytest.param(path, id=path.stem) for path in idol_model_files()]


def _groups(prefix):
    return [
        pytest.param(path, group, id=f'{path.stem}-{group}')
        for path in idol_model_files()
        for group in recorded_groups(Recording(path), prefix)
    ]


TRAINING = [
    pytest.param(path, run, group, id=f'{path.stem}-{group}')
    for path, run in training_runs()
    for group in recorded_groups(Recording(path), f'{run}/')
]


@pytest.mark.parametrize('path, group', _groups('fwd/'))
def test_frame_model(path, group):
    assert_group(Recording(path), replay_forward(path), group)


@pytest.mark.parametrize('path, group', _groups('coco/'))
def test_images(path, group):
    assert_group(Recording(path), replay_images(path), group)


@pytest.mark.parametrize('path, group', _groups('video/'))
def test_video(path, group):
    assert_group(Recording(path), replay_video(path), group)


@pytest.mark.parametrize('path, run, group', TRAINING)
def test_training_step(path, run, group):
    assert_group(Recording(path), replay_training(path, run), group)


@pytest.mark.parametrize('path', FILES)
def test_enough_is_recorded(path):
    """A file that records next to nothing would pass every stage."""
    names = Recording(path).names
    for batch in Recording(path).hp['fwd']:
        assert {f'fwd/{batch}/pred_logits', f'fwd/{batch}/pred_masks'} <= names


def test_visible_file_is_there():
    assert 'idol_model_tiny' in [path.stem for path in idol_model_files()]
