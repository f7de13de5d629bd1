# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from importlib.util import find_spec

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import \
    MultiScaleDeformableAttention as MMCVAttention
from torch.testing import assert_close

from refinevis_mm.compat.mmcv_lite import has_compiled_ops
from refinevis_mm.models.layers import embedding_bag_attn, gather_attn
from refinevis_mm.models.layers.ms_deform_attn import (
    BACKEND_ENV, BACKENDS, MultiScaleDeformableAttention, _softmax_of_few,
    select_backend, use_attention_backend)

CPU = torch.device('cpu')
CPU_BACKENDS = ['embedding_bag', 'gather', 'mmcv_pytorch'] + (
    ['torch_ms_deform_attn'] if find_spec('torch_ms_deform_attn') else [])
# odd and even sizes, levels of one cell, one row and one column
SHAPES = [[5, 7], [4, 4], [1, 1], [1, 3], [2, 1]]


def _inputs(shapes=SHAPES, num_points=4, batch=2, dtype=torch.float32):
    """A third of the points lie outside of the picture."""
    torch.manual_seed(0)
    levels, shapes = len(shapes), torch.tensor(shapes)
    sizes = shapes.prod(1)
    value = torch.randn(
        batch, sizes.sum(), 2, 4, dtype=dtype, requires_grad=True)
    locations = (
        torch.rand(batch, 6, 2, levels, num_points, 2, dtype=dtype) * 1.6 -
        0.3).requires_grad_()
    weights = torch.randn(batch, 6, 2, levels * num_points, dtype=dtype)
    weights = weights.softmax(-1).view(locations.shape[:-1])
    return (value, shapes, sizes.cumsum(0) - sizes, locations,
            weights.detach().requires_grad_())


def _run(name, inputs):
    """Output and the three gradients."""
    inputs = [
        x.detach().clone().requires_grad_(x.requires_grad) for x in inputs
    ]
    out = BACKENDS[name](*inputs)
    (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
    return [out.detach()] + [inputs[i].grad for i in (0, 3, 4)]


def test_single_point_by_hand():
    # one level of 1 x 2 cells with values 1 and 3; a point midway between
    # the two centres gives 2, a quarter of a cell outside gives 0.75
    value = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    shapes, starts = torch.tensor([[1, 2]]), torch.tensor([0])
    locations = torch.tensor([[0.5, 0.5], [0.125, 0.5]]).view(1, 2, 1, 1, 1, 2)
    weights = torch.ones(1, 2, 1, 1, 1)
    for name in CPU_BACKENDS:
        out = BACKENDS[name](value, shapes, starts, locations, weights)
        assert_close(out.flatten(), torch.tensor([2.0, 0.75]), msg=name)


@pytest.mark.parametrize('name',
                         [n for n in CPU_BACKENDS if n != 'mmcv_pytorch'])
@pytest.mark.parametrize('options', [
    dict(),
    dict(batch=1),
    dict(shapes=[[6, 3]], num_points=1),
    dict(shapes=[[1, 1]], num_points=1),
    dict(dtype=torch.float64),
])
def test_backends_agree_forward_and_backward(name, options):
    inputs = _inputs(**options)
    for ours, reference in zip(
            _run(name, inputs), _run('mmcv_pytorch', inputs)):
        assert_close(ours, reference, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize('name', CPU_BACKENDS)
def test_points_outside_see_and_move_nothing(name):
    value, shapes, starts, locations, weights = _inputs()
    locations = (locations.detach().sign() * 7).requires_grad_()
    out, *grads = _run(name, (value, shapes, starts, locations, weights))
    assert not out.any()
    assert not any(grad.any() for grad in grads)


def test_chunks_of_queries_change_nothing(monkeypatch):
    inputs = _inputs()
    whole = _run('embedding_bag', inputs)
    monkeypatch.setattr(embedding_bag_attn, 'CHUNK_POINTS', 100)
    for ours, reference in zip(_run('embedding_bag', inputs), whole):
        assert torch.equal(ours, reference)


def test_images_that_share_a_backward_pass_change_nothing(monkeypatch):
    inputs = _inputs(batch=3)
    together = _run('embedding_bag', inputs)
    size = max(inputs[0][0].numel(), inputs[4][0].numel())
    for few in (1, 2 * size):  # images one by one, and two and one
        monkeypatch.setattr(embedding_bag_attn, 'BACKWARD_SIZE', few)
        for ours, reference in zip(_run('embedding_bag', inputs), together):
            assert_close(ours, reference, atol=1e-6, rtol=1e-6)


def test_chunks_of_gathered_queries_change_nothing(monkeypatch):
    inputs = _inputs()
    whole = _run('gather', inputs)
    # one query at a time, and four
    for values in (1, 4 * 2 * len(SHAPES) * 4 * 4 * 4):
        monkeypatch.setattr(gather_attn, 'CHUNK_VALUES', values)
        for ours, reference in zip(_run('gather', inputs), whole):
            assert_close(ours, reference, atol=1e-6, rtol=1e-6)


def test_a_chosen_backend_precedes_the_environment(monkeypatch):
    monkeypatch.setenv(BACKEND_ENV, 'mmcv_pytorch')
    with use_attention_backend('gather'):
        assert select_backend(CPU) == 'gather'
        with use_attention_backend('embedding_bag'):
            assert select_backend(CPU) == 'embedding_bag'
        assert select_backend(CPU) == 'gather'
    assert select_backend(CPU) == 'mmcv_pytorch'


def test_embedding_bag_first_used_in_inference_mode():
    """Remembered constants must serve training afterwards."""
    embedding_bag_attn.make_grid.cache_clear()
    inputs = _inputs()
    with torch.inference_mode():
        BACKENDS['embedding_bag'](*inputs)
    assert all(grad is not None for grad in _run('embedding_bag', inputs))


def test_embedding_bag_remembers_a_bounded_number_of_sizes():
    limit = embedding_bag_attn.MAX_CACHED_SIZES
    for width in range(1, limit + 5):
        BACKENDS['embedding_bag'](*_inputs([[2, width]], 1, 1))
    assert embedding_bag_attn.make_grid.cache_info().currsize == limit


def test_nan_point_gives_nan_and_no_crash():
    value, shapes, starts, locations, weights = _inputs()
    locations = locations.detach()
    locations[0, 2, 1, 0, 3, 0] = float('nan')
    out = BACKENDS['embedding_bag'](value, shapes, starts, locations, weights)
    bad = out.isnan().view(2, 6, 2, 4).any(-1)
    assert bad.sum() == 1 and bad[0, 2, 1]


@pytest.mark.parametrize('last', [2, 4])
@pytest.mark.parametrize('batch', [1, 3])
def test_module_is_mmcv_with_any_backend(monkeypatch, last, batch):
    """Same keys, same output, same gradients of every parameter."""
    options = dict(
        embed_dims=8,
        num_heads=2,
        num_levels=2,
        num_points=3,
        dropout=0.0,
        batch_first=True)
    torch.manual_seed(0)
    reference = MMCVAttention(**options)
    for param in reference.parameters():
        torch.nn.init.normal_(param, std=0.5)
    shapes, starts = torch.tensor([[3, 5], [2, 2]]), torch.tensor([0, 15])
    inputs = dict(
        query=torch.randn(batch, 4, 8),
        value=torch.randn(batch, 19, 8),
        query_pos=torch.randn(batch, 4, 8),
        key_padding_mask=torch.rand(batch, 19) < 0.2,
        reference_points=torch.rand(batch, 4, 2, last),
        spatial_shapes=shapes,
        level_start_index=starts)
    expected = reference(**inputs)
    expected.cos().sum().backward()
    for name in CPU_BACKENDS:
        monkeypatch.setenv(BACKEND_ENV, name)
        attn = MultiScaleDeformableAttention(**options)
        attn.load_state_dict(reference.state_dict())
        out = attn(**inputs)
        assert_close(out, expected, atol=2e-5, rtol=1e-4, msg=name)
        out.cos().sum().backward()
        for ours, theirs in zip(attn.parameters(), reference.parameters()):
            assert_close(ours.grad, theirs.grad, atol=2e-4, rtol=1e-3)


def test_short_softmax_is_softmax():
    logits = torch.tensor([[300.0, -300.0, 299.0], [1.0, 2.0, 3.0]])
    logits.requires_grad_()
    ours = _softmax_of_few(logits)
    assert_close(ours, logits.softmax(-1))
    grads = [
        torch.autograd.grad((out * torch.arange(3)).sum(), logits)[0]
        for out in (ours, logits.softmax(-1))
    ]
    assert_close(*grads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_backends_agree_on_a_gpu():
    inputs = [x.detach().cuda() for x in _inputs()]
    names = ['embedding_bag'] + ['mmcv_cuda'] * has_compiled_ops()
    for name in names:
        assert_close(
            BACKENDS[name](*inputs).cpu(),
            BACKENDS['mmcv_pytorch'](*inputs).cpu(),
            atol=1e-4,
            rtol=1e-3)


def test_half_precision_is_computed_in_fp32():
    attn = MultiScaleDeformableAttention(
        8, num_heads=2, num_levels=2, num_points=2, dropout=0.0).eval()
    shapes, starts = torch.tensor([[3, 3], [2, 2]]), torch.tensor([0, 9])
    query, value = torch.randn(1, 4, 8), torch.randn(1, 13, 8)
    points = torch.rand(1, 4, 2, 4)
    call = dict(spatial_shapes=shapes, level_start_index=starts)
    full = attn(query, value=value, reference_points=points, **call)
    half = attn.bfloat16()(
        query.bfloat16(),
        value=value.bfloat16(),
        reference_points=points.bfloat16(),
        **call)
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), full, atol=0.1, rtol=0.1)


def test_choice_of_backend(monkeypatch):
    monkeypatch.delenv(BACKEND_ENV, raising=False)
    expected = 'torch_ms_deform_attn'
    if find_spec('torch_ms_deform_attn') is None:
        expected = 'embedding_bag'
    assert select_backend(CPU) == expected
    on_gpu = 'mmcv_cuda' if has_compiled_ops() else 'mmcv_pytorch'
    assert select_backend(torch.device('cuda')) == on_gpu
    monkeypatch.setenv(BACKEND_ENV, 'mmcv_pytorch')
    assert select_backend(CPU) == 'mmcv_pytorch'
    monkeypatch.setenv(BACKEND_ENV, 'nonsense')
    with pytest.raises(ValueError, match="got 'nonsense'"):
        select_backend(CPU)
