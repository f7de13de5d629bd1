# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Settings that mmengine takes and that do not work."""
import re
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import (BaseDataset, ConcatDataset, DefaultSampler,
                              InfiniteSampler)
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from refinevis_mm.engine import SourceRatioSampler, TrainingCheckHook


def _loop(kind, sampler, persistent=True):
    """A loop over toy data, not built by its constructor."""
    loop = kind.__new__(kind)
    loop.dataloader = SimpleNamespace(
        sampler=sampler, num_workers=1, persistent_workers=persistent)
    return loop


def _runner(loop=None, **cfg):
    return SimpleNamespace(_train_loop=loop, cfg=cfg)


@pytest.mark.parametrize('sampler', [
    InfiniteSampler([0, 1]),
    SourceRatioSampler(
        ConcatDataset([BaseDataset(lazy_init=True)], lazy_init=True), [1]),
])
def test_epochs_need_an_end(sampler):
    with pytest.raises(ValueError) as error:
        TrainingCheckHook().before_run(
            _runner(_loop(EpochBasedTrainLoop, sampler)))
    assert str(error.value) == (
        'EpochBasedTrainLoop needs a sampler that ends, got '
        f'{type(sampler).__name__}; set train_dataloader.sampler='
        "dict(_delete_=True, type='DefaultSampler', shuffle=True)")


@pytest.mark.parametrize('loop', [
    None,
    dict(type='NotBuilt'),
    _loop(EpochBasedTrainLoop, DefaultSampler([0, 1])),
    _loop(IterBasedTrainLoop, InfiniteSampler([0, 1])),
])
def test_what_works(loop):
    TrainingCheckHook().before_run(_runner(loop))


@pytest.mark.parametrize('persistent, said', [(True, 0), (False, 1)])
def test_epochs_that_repeat_their_random_numbers_are_told(persistent, said):
    loop = _loop(EpochBasedTrainLoop, DefaultSampler([0, 1]), persistent)
    runner = _runner(loop)
    runner.logger = mock.Mock()
    TrainingCheckHook().before_run(runner)
    assert runner.logger.warning.call_count == said


def test_compiled_training_is_refused():
    loop = _loop(IterBasedTrainLoop, InfiniteSampler([0, 1]))
    with pytest.raises(ValueError, match='compile must be False, got True'):
        TrainingCheckHook().before_run(_runner(loop, compile=True))
    TrainingCheckHook().before_run(_runner(loop, compile=False))
    TrainingCheckHook().before_run(_runner(compile=True))  # a test


def _training(schedulers, num_samples=7, resume=True, lr=1.):
    """A runner of these schedulers; what it warns is in ``said``."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr)
    said = []
    return SimpleNamespace(
        _resume=resume,
        param_schedulers=[make(optimizer) for make in schedulers],
        train_dataloader=SimpleNamespace(dataset=range(num_samples)),
        logger=SimpleNamespace(warning=said.append),
        said=said)


def _checkpoint(runner):
    checkpoint = dict(
        meta={},
        param_schedulers=[one.state_dict() for one in runner.param_schedulers])
    TrainingCheckHook().before_save_checkpoint(runner, checkpoint)
    return checkpoint


def _warmup(optimizer):
    return LinearLR(optimizer, 0.1, begin=0, end=2, by_epoch=False)


def _cosine(end):
    return lambda optimizer: CosineAnnealingLR(
        optimizer, eta_min=0., begin=2, end=end, by_epoch=False)


def test_a_resumed_run_keeps_its_schedule_and_says_so():
    old = _training([_warmup, _cosine(4)])
    for _ in range(3):
        for scheduler in old.param_schedulers:
            scheduler.optimizer.step()
            scheduler.step()
    checkpoint = _checkpoint(old)
    same = _training([_warmup, _cosine(4)])
    TrainingCheckHook().after_load_checkpoint(same, checkpoint)
    assert same.said == []
    longer = _training([_warmup, _cosine(8)])
    TrainingCheckHook().after_load_checkpoint(longer, checkpoint)
    assert longer.said == [
        'the parameter schedule of the checkpoint goes on: '
        'param_scheduler.1.T_max is 2 there and 6 in the config; '
        'param_scheduler.1.end is 4 there and 8 in the config. '
        'A new schedule needs a new run, with load_from in the place of '
        'resume'
    ]


@pytest.mark.parametrize('schedulers, lr, change', [
    ([_warmup], 1., r'len\(param_scheduler\) is 2 there and 1'),
    ([_warmup, _cosine(4)
      ], .5, r'param_scheduler.0.base_values is \[1.0\] there and \[0.5\]'),
    ([_warmup, lambda optimizer: MultiStepLR(optimizer, [3], by_epoch=False)
      ], 1., r'milestones is None there and Counter\(\{3: 1\}\)'),
])
def test_other_changes_of_the_schedule(schedulers, lr, change):
    checkpoint = _checkpoint(_training([_warmup, _cosine(4)]))
    runner = _training(schedulers, lr=lr)
    TrainingCheckHook().after_load_checkpoint(runner, checkpoint)
    with pytest.raises(ValueError, match=change):
        raise ValueError(*runner.said)


def test_grown_data_are_said():
    checkpoint = _checkpoint(_training([_warmup]))
    runner = _training([_warmup], num_samples=9)
    TrainingCheckHook().after_load_checkpoint(runner, checkpoint)
    assert runner.said == [
        'the training data have 9 samples, those of the checkpoint had 7: '
        'the order of the samples is another'
    ]


def test_weights_alone_are_not_compared():
    checkpoint = _checkpoint(_training([_warmup]))
    runner = _training([_cosine(4)], num_samples=9, resume=False)
    TrainingCheckHook().after_load_checkpoint(runner, checkpoint)
    old = dict(meta={}, state_dict={})  # of a version that kept neither
    resumed = _training([_cosine(4)])
    TrainingCheckHook().after_load_checkpoint(resumed, old)
    assert runner.said == resumed.said == []


def test_documented_early_stopping_waits_for_slow_progress():
    page = (Path(__file__).parents[2] / 'docs/training.md').read_text()
    block = next(
        block for block in re.findall('```python\n(.*?)```', page, re.S)
        if 'EarlyStoppingHook' in block)
    options = Config.fromstring(block, '.py').custom_hooks[0]
    hook = HOOKS.build(options)
    loop = SimpleNamespace(stop_training=False)
    runner = SimpleNamespace(train_loop=loop, iter=0, logger=mock.Mock())
    hook.before_run(runner)
    for step in range(20):  # half an AP a time
        hook.after_val_epoch(runner, {'vis/AP': 0.1 + 0.005 * step})
    assert not loop.stop_training
    for _ in range(options.patience):
        hook.after_val_epoch(runner, {'vis/AP': 0.1})
    assert loop.stop_training
