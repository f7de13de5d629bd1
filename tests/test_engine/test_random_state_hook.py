# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import random
from types import SimpleNamespace

import numpy as np
import torch

from refinevis_mm.engine import RandomStateHook


def _draw():
    return (random.random(), random.gauss(0, 1), np.random.rand(),
            np.random.randn(), torch.rand(3).tolist())


def _save(tmp_path):
    checkpoint = {}
    np.random.randn()  # leaves a cached second Gaussian number
    RandomStateHook().before_save_checkpoint(None, checkpoint)
    torch.save(checkpoint, tmp_path / 'states.pth')
    return torch.load(tmp_path / 'states.pth', weights_only=True)


def test_resumed_run_draws_the_same_numbers(tmp_path):
    checkpoint = _save(tmp_path)
    expected = _draw()
    hook = RandomStateHook()
    hook.after_load_checkpoint(SimpleNamespace(_resume=True), checkpoint)
    assert _draw() != expected  # nothing happens before the first iteration
    hook.before_train_iter(None, 0)
    assert _draw() == expected
    hook.before_train_iter(None, 1)
    assert _draw() != expected  # restored once only


def test_loading_weights_does_not_restore(tmp_path):
    checkpoint = _save(tmp_path)
    expected = _draw()
    hook = RandomStateHook()
    hook.after_load_checkpoint(SimpleNamespace(_resume=False), checkpoint)
    hook.before_train_iter(None, 0)
    assert _draw() != expected
