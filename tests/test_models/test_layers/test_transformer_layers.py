# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
from torch.testing import assert_close

from refinevis_mm.models.layers.transformer_layers import (FFNReLU,
                                                           SelfAttention,
                                                           flatten_levels)


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('training', [False, True])
def test_self_attention_is_mmcvs(masked, training):
    torch.manual_seed(0)
    options = dict(embed_dims=8, num_heads=2, batch_first=True)
    reference = MultiheadAttention(**options).train(training)
    attn = SelfAttention(**options).train(training)
    attn.load_state_dict(reference.state_dict())
    query, pos = torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[:2, 2:] = masked
    call = dict(query_pos=pos, attn_mask=mask)
    expected = reference(query, query, query, key_pos=pos, **call)
    out = attn(query, key=query, value=query, key_pos=pos, **call)
    assert_close(out, expected)
    expected.cos().sum().backward()
    out.cos().sum().backward()
    for ours, theirs in zip(attn.parameters(), reference.parameters()):
        assert_close(ours.grad, theirs.grad)


def test_ffn_relu_keeps_the_views_of_a_graph():
    torch.manual_seed(0)
    linear = torch.nn.Linear(2, 3)
    hidden = linear(torch.randn(2, 5, 2))
    before = hidden.detach().clone()
    out = FFNReLU()(hidden)
    assert torch.equal(hidden, before) and (before < 0).any()
    # not the AsStridedBackward0 of a view that was changed
    assert type(out.grad_fn).__name__ == 'ReluBackward0'
    assert FFNReLU()(before) is before  # written over
    assert torch.equal(before, out)


def test_flatten_levels_by_hand():
    fine = torch.arange(8.0).view(1, 2, 2, 2)  # two channels
    coarse = torch.tensor([8.0, 9.0]).view(1, 2, 1, 1)
    value, shapes, starts, ratios = flatten_levels([fine, coarse])
    assert value[0].tolist() == [[0, 4], [1, 5], [2, 6], [3, 7], [8, 9]]
    assert shapes.tolist() == [[2, 2], [1, 1]]
    assert starts.tolist() == [0, 4]
    assert ratios.shape == (1, 2, 2) and (ratios == 1).all()
