# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from torch import nn

from refinevis_mm.models.layers import MultiScaleDeformableAttention
from refinevis_mm.profiling import FlopCounter, StageTimer, matmul_rate


@pytest.fixture
def timer():
    with StageTimer(torch.device('cpu')) as timer:
        yield timer


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_stages_by_hand(timer, context):
    linear = nn.Linear(3, 5)
    conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
    heads = timer.timed('heads', linear)
    backbone = timer.timed('backbone', conv)

    def run():
        with context():
            heads(torch.ones(7, 3))
            backbone(torch.ones(1, 2, 8, 8))

    counts = FlopCounter().count(timer, run)
    assert counts == {
        'heads': 2 * 7 * 3 * 5,
        'backbone': 2 * 64 * 4 * 2 * 9,
        'other': 0,
        'total': 210 + 9216
    }
    # the clock is back
    assert 0 < timer.measure(run)['total'] < 10


@pytest.mark.parametrize('groups', [1, 4])
def test_backward_is_twice_the_forward_pass(timer, groups):
    """PyTorch's own formula is wrong for groups."""
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=groups, bias=False)
    images = torch.ones(1, 4, 8, 8, requires_grad=True)
    backward = timer.timed('backward', lambda loss: loss.backward())
    counts = FlopCounter().count(timer, lambda: backward(conv(images).sum()))
    assert counts['other'] == 2 * 64 * 4 * 4 // groups * 9
    assert counts['backward'] == 2 * counts['other']


@pytest.mark.parametrize('train', [False, True])
def test_deformable_attention_by_hand(timer, train):
    module = MultiScaleDeformableAttention(
        32, num_heads=4, num_levels=2, num_points=3)
    sample = MultiScaleDeformableAttention.sample
    query, value = torch.rand(1, 6, 32), torch.rand(1, 20, 32)
    arguments = dict(
        value=value,
        reference_points=torch.rand(1, 6, 2, 2),
        spatial_shapes=torch.tensor([[4, 4], [2, 2]]),
        level_start_index=torch.tensor([0, 16]))
    backward = timer.timed('backward', lambda loss: loss.backward())

    def run():
        with torch.set_grad_enabled(train):
            output = module(query, **arguments)
            if train:
                backward(output.sum())

    counts = FlopCounter().count(timer, run)
    # 32 channels of 6 queries, of 2 levels and 3 points, 4 neighbours each
    sampling = 32 * 6 * 2 * 3 * 4 * 2
    # values, offsets, weights, output
    products = 2 * 32 * (20 * 32 + 6 * 4 * 2 * 3 * 2 + 6 * 4 * 2 * 3 + 6 * 32)
    assert counts['other'] == sampling + products
    if train:
        # no gradient of query and value is wanted
        assert counts['backward'] > 2 * sampling
    assert MultiScaleDeformableAttention.sample is sample


def test_rate_is_that_of_a_product(monkeypatch):
    clock = iter([0, 1, 10, 12])
    monkeypatch.setattr('refinevis_mm.profiling.arithmetic.time.perf_counter',
                        lambda: next(clock))
    # the second of two counts: 2 s
    assert matmul_rate(torch.device('cpu')) == 1024**3
