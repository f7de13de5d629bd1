# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.association import ContrastiveHead
from refinevis_mm.registry import MODELS


def test_forward():
    head = MODELS.build(
        dict(
            type='refinevis_mm.ContrastiveHead',
            in_channels=8,
            feat_channels=12,
            embed_dims=4))
    assert head(torch.randn(2, 3, 5, 8)).shape == (2, 3, 5, 4)
    assert head(torch.randn(0, 8)).shape == (0, 4)
    assert [p.shape for p in head.parameters() if p.dim() == 2] == [(12, 8),
                                                                    (12, 12),
                                                                    (4, 12)]


def test_loss_by_hand():
    head = ContrastiveHead(embed_dims=2)
    key = torch.tensor([[2., 0.]])
    ref = torch.tensor([[1., 0.], [1., 1.]])
    pos = torch.tensor([[True, False]])
    losses = head.loss(key, ref, pos, ~pos)
    # both dot products are 2, the cosines 1 and sqrt(1/2)
    assert_close(losses['loss_assoc'], torch.tensor(2 * math.log(2)))
    assert_close(losses['loss_assoc_aux'], torch.tensor(3 * 0.5 / 2))


def test_loss_weights():
    torch.manual_seed(0)
    key, ref = torch.randn(3, 4), torch.randn(6, 4)
    pos = torch.arange(6)[None] % 3 == torch.arange(3)[:, None]
    ones = ContrastiveHead(assoc_weight=1, assoc_aux_weight=1)
    tens = ContrastiveHead(assoc_weight=10, assoc_aux_weight=0)
    expected = ones.loss(key, ref, pos, ~pos)
    losses = tens.loss(key, ref, pos, ~pos)
    assert_close(losses['loss_assoc'], 10 * expected['loss_assoc'])
    assert losses['loss_assoc_aux'] == 0 < expected['loss_assoc_aux']


def test_loss_ignores_object_order():
    torch.manual_seed(0)
    head = ContrastiveHead()
    key, ref = torch.randn(3, 4), torch.randn(6, 4)
    pos = torch.arange(6)[None] % 3 == torch.arange(3)[:, None]
    anchors, refs = torch.randperm(3), torch.randperm(6)
    permuted = pos[anchors][:, refs]
    assert_close(
        head.loss(key[anchors], ref[refs], permuted, ~permuted),
        head.loss(key, ref, pos, ~pos))


@pytest.mark.parametrize('num_anchors, num_refs', [(0, 5), (1, 0), (1, 5)])
def test_nothing_to_compare_keeps_graph(num_anchors, num_refs):
    head = ContrastiveHead(in_channels=4, feat_channels=4, embed_dims=4)
    key = head(torch.randn(num_anchors, 4))
    ref = head(torch.randn(num_refs, 4))
    nothing = torch.zeros(num_anchors, num_refs, dtype=torch.bool)
    losses = head.loss(key, ref, nothing, nothing)
    sum(losses.values()).backward()
    assert losses['loss_assoc'] == losses['loss_assoc_aux'] == 0
    for param in head.parameters():
        assert_close(param.grad, torch.zeros_like(param))


def test_gradients_reach_both_frames():
    key = torch.randn(2, 4, requires_grad=True)
    ref = torch.randn(4, 4, requires_grad=True)
    pos = torch.arange(4)[None] % 2 == torch.arange(2)[:, None]
    losses = ContrastiveHead().loss(key, ref, pos, ~pos)
    losses['loss_assoc'].backward()
    assert key.grad.abs().sum() > 0 and ref.grad.abs().sum() > 0


def test_half_precision_does_not_overflow():
    key = torch.full((1, 4), 200., dtype=torch.bfloat16)
    pos = torch.tensor([[True, False]])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = ContrastiveHead().loss(key, torch.cat([-key, key]), pos, ~pos)
    assert losses['loss_assoc'].dtype == torch.float32
    assert losses['loss_assoc'] == 2 * 2 * 4 * 200**2


def test_bad_arguments():
    with pytest.raises(ValueError, match='must be >= 0'):
        ContrastiveHead(assoc_weight=-1)
    with pytest.raises(ValueError, match='num_neg_per_pos'):
        ContrastiveHead(num_neg_per_pos=0)
    nothing = torch.zeros(1, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match='equal embedding dimensions'):
        ContrastiveHead().loss(
            torch.ones(1, 4), torch.ones(1, 5), nothing, nothing)
