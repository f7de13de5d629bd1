# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from importlib.util import find_spec

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.layers.ms_deform_attn import (
    BACKEND_ENV, BACKENDS, MultiScaleDeformableAttention, select_backend)

CPU = torch.device('cpu')
CPU_BACKENDS = ['embedding_bag', 'mmcv_pytorch'] + (
    ['torch_ms_deform_attn'] if find_spec('torch_ms_deform_attn') else [])


def _inputs(dtype=torch.float32):
    """Odd level sizes; a fifth of the points outside of the picture."""
    torch.manual_seed(0)
    shapes = torch.tensor([[5, 7], [3, 4], [1, 1]])
    starts = torch.tensor([0, 35, 47])
    value = torch.randn(2, 48, 2, 4, dtype=dtype, requires_grad=True)
    locations = (torch.rand(2, 6, 2, 3, 4, 2, dtype=dtype) * 1.4 -
                 0.2).requires_grad_()
    weights = torch.rand(
        2, 6, 2, 12, dtype=dtype).softmax(-1).view(2, 6, 2, 3,
                                                   4).requires_grad_()
    return value, shapes, starts, locations, weights


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
def test_backends_agree_forward_and_backward(name):
    results = {}
    for backend in ('mmcv_pytorch', name):
        inputs = _inputs()
        out = BACKENDS[backend](*inputs)
        (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
        results[backend] = (out.detach(), inputs[0].grad, inputs[3].grad,
                            inputs[4].grad)
    for ours, reference in zip(results[name], results['mmcv_pytorch']):
        assert_close(ours, reference, atol=2e-5, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_cuda_op_agrees():
    inputs = [x.detach().cuda() for x in _inputs()]
    assert_close(
        BACKENDS['mmcv_cuda'](*inputs).cpu(),
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
        assert select_backend(CPU, needs_grad=True) == 'mmcv_pytorch'
    assert select_backend(CPU, needs_grad=False) == expected
    monkeypatch.setenv(BACKEND_ENV, 'mmcv_pytorch')
    assert select_backend(CPU, needs_grad=False) == 'mmcv_pytorch'
    monkeypatch.setenv(BACKEND_ENV, 'nonsense')
    with pytest.raises(ValueError, match="got 'nonsense'"):
        select_backend(CPU, needs_grad=False)
