# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import random
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch

from refinevis_mm.engine import IterSeedHook

RANK = 'refinevis_mm.engine.hooks.iter_seed_hook.get_rank'


def _draw(seed=0, iteration=5, rank=0):
    """Numbers that are drawn in an iteration."""
    with mock.patch(RANK, return_value=rank):
        IterSeedHook().before_train_iter(
            SimpleNamespace(seed=seed, iter=iteration), 0)
    return (random.random(), random.gauss(0, 1), np.random.rand(),
            np.random.randn(), *torch.rand(3).tolist())


def test_numbers_do_not_depend_on_what_was_drawn_before():
    expected = _draw()
    random.random(), random.gauss(0, 1), np.random.randn(), torch.rand(1)
    assert _draw() == expected


@pytest.mark.parametrize('change', [
    dict(seed=1), dict(iteration=6), dict(rank=1),
    dict(seed=5, iteration=0)
])  # yapf: disable
def test_seed_rank_and_iteration_give_other_numbers(change):
    assert not set(_draw(**change)) & set(_draw())


@pytest.mark.parametrize('num_workers, said', [(0, 1), (1, 0)])
def test_what_does_not_resume_exactly_is_said(num_workers, said):
    logger = mock.Mock()
    IterSeedHook().before_train(
        SimpleNamespace(
            logger=logger,
            train_dataloader=SimpleNamespace(num_workers=num_workers)))
    assert logger.warning.call_count == said
