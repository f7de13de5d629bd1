# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy
import io

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.utils import digit_version
from torch.optim import AdamW

from refinevis_mm.engine import GroupedAdamW
from refinevis_mm.engine.optimizers.grouped_adamw import FUSED_SINCE

SHAPES = [(3, 4), (4, ), (2, 2), (5, ), (1, ), (2, 3)]
# one with each of two learning rates and decays, and one that repeats
SETTINGS = [
    dict(lr=1e-2),
    dict(lr=1e-2, weight_decay=0.),
    dict(lr=1e-3),
    dict(lr=1e-2),
    dict(lr=1e-3),
    dict(lr=1e-2)
]


def groups_of(weights):
    return [
        dict(params=[weight], **options)
        for weight, options in zip(weights, SETTINGS)
    ]


def train(optimizer, weights, steps, seed=0, skip=()):
    """Steps with gradients of a seed; ``skip`` have none."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for i, weight in enumerate(weights):
            grad = torch.randn(weight.shape, generator=generator)
            weight.grad = None if i in skip else grad
        optimizer.step()


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in SHAPES
    ]


@pytest.mark.parametrize(
    'options',
    [{}, dict(fused=False), dict(amsgrad=True)])
def test_updates_of_adamw(weights, options):
    expected = copy.deepcopy(weights)
    train(
        AdamW(
            groups_of(expected),
            weight_decay=0.1,
            amsgrad='amsgrad' in options),
        expected,
        5,
        skip=(4, ))
    optimizer = GroupedAdamW(groups_of(weights), weight_decay=0.1, **options)
    groups = optimizer.param_groups
    train(optimizer, weights, 5, skip=(4, ))
    assert optimizer.param_groups is groups and len(groups) == len(SHAPES)
    for weight, other in zip(weights, expected):
        torch.testing.assert_close(weight, other, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version(FUSED_SINCE),
    reason='no fused AdamW on a CPU')
def test_one_call_for_groups_of_equal_settings(weights, monkeypatch):
    optimizer = GroupedAdamW(groups_of(weights), weight_decay=0.1)
    calls = []
    fused = torch._fused_adamw_

    def count(params, *args, **kwargs):
        calls.append(len(params))
        return fused(params, *args, **kwargs)

    monkeypatch.setattr(torch, '_fused_adamw_', count)
    train(optimizer, weights, 1)
    assert sorted(calls) == [1, 2, 3]
    # a scheduler changes one of them
    optimizer.param_groups[0]['lr'] = 5e-3
    calls.clear()
    train(optimizer, weights, 1)
    assert sorted(calls) == [1, 1, 2, 2]


@pytest.mark.parametrize('before, after', [(AdamW, GroupedAdamW),
                                           (GroupedAdamW, AdamW),
                                           (GroupedAdamW, GroupedAdamW)])
def test_each_resumes_the_other(weights, before, after):
    expected = copy.deepcopy(weights)
    whole = AdamW(groups_of(expected), weight_decay=0.1)
    first = before(groups_of(weights), weight_decay=0.1)
    train(whole, expected, 3)
    train(first, weights, 3)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = after(groups_of(weights), weight_decay=0.5)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.param_groups[0]['weight_decay'] == 0.1
    if after is GroupedAdamW:
        assert {group['fused']
                for group in second.param_groups
                } == {second.defaults['fused']}
    train(whole, expected, 3, seed=2)
    train(second, weights, 3, seed=2)
    for weight, other in zip(weights, expected):
        torch.testing.assert_close(weight, other, rtol=1e-6, atol=1e-7)


def test_what_groups_may_have_beside(weights):
    """Names of weights, as mmdet's layer-wise decay writes them, and lists."""
    expected = copy.deepcopy(weights)
    groups = groups_of(weights)
    for i, group in enumerate(groups):
        group.update(param_names=[f'weight{i}'], betas=[0.8, 0.99])
    train(AdamW(groups_of(expected), betas=(0.8, 0.99)), expected, 3)
    train(GroupedAdamW(groups), weights, 3)
    for weight, other in zip(weights, expected):
        torch.testing.assert_close(weight, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('form', ['foreach', 'differentiable'])
def test_other_forms_of_the_update(weights, form):
    optimizer = GroupedAdamW(weights, 1e-3, **{form: True})
    assert not optimizer.defaults['fused']


def test_groups_survive_a_step_that_fails(weights):
    optimizer = GroupedAdamW(groups_of(weights))
    groups = optimizer.param_groups

    def closure():
        raise ValueError('no loss')

    with pytest.raises(ValueError, match='no loss'):
        optimizer.step(closure)
    assert optimizer.param_groups is groups


def test_built_by_a_config():
    wrapper = build_optim_wrapper(
        torch.nn.Linear(2, 3),
        dict(
            optimizer=dict(
                type='refinevis_mm.GroupedAdamW', lr=1e-3, weight_decay=0.1),
            paramwise_cfg=dict(bias_decay_mult=0.)))
    assert type(wrapper.optimizer) is GroupedAdamW
    assert len(wrapper.optimizer.param_groups) == 2
