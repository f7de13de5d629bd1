# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.association import (aux_cosine_loss, contrastive_loss,
                                             sample_negatives)


def _random_pairs(num_anchors=5, num_candidates=9):
    torch.manual_seed(0)
    sims = torch.randn(num_anchors, num_candidates) * 3
    kind = torch.randint(3, sims.shape)  # ignored, positive, negative
    kind[:, 0], kind[:, 1] = 1, 2
    return sims, kind == 1, kind == 2


def test_contrastive_loss_by_hand():
    # one positive at 0, two negatives at log 2 and log 3; the last is ignored
    sims = torch.tensor([[0., math.log(2), math.log(3), 50.]])
    pos = torch.tensor([[True, False, False, False]])
    neg = torch.tensor([[False, True, True, False]])
    assert_close(contrastive_loss(sims, pos, neg), torch.tensor(math.log(6)))


def test_contrastive_loss_equals_double_sum():
    sims, pos, neg = _random_pairs()
    expected = []
    for row, is_pos, is_neg in zip(sims.double(), pos, neg):
        pairs = row[is_neg][None] - row[is_pos][:, None]
        expected.append((1 + pairs.exp().sum()).log())
    assert_close(
        contrastive_loss(sims, pos, neg),
        torch.stack(expected).mean().float())


def test_contrastive_loss_survives_large_dot_products():
    sims = torch.tensor([[-4000., 4000.]], requires_grad=True)
    pos = torch.tensor([[True, False]])
    loss = contrastive_loss(sims, pos, ~pos)
    assert loss == 8000
    loss.backward()
    assert_close(sims.grad, torch.tensor([[-1., 1.]]))


def test_contrastive_loss_denominator():
    sims = torch.zeros(3, 2)
    pos = torch.tensor([[True, False], [True, True], [False, False]])
    # log 2 for the first anchor, nothing to compare for the others
    assert_close(contrastive_loss(sims, pos, ~pos), torch.tensor(math.log(2)))
    assert_close(
        contrastive_loss(sims, pos, ~pos, count_empty_anchors=True),
        torch.tensor(math.log(2) / 3))


@pytest.mark.parametrize('shape', [(0, 4), (3, 0), (3, 4)])
@pytest.mark.parametrize('loss', [contrastive_loss, aux_cosine_loss])
def test_nothing_to_compare(loss, shape):
    sims = torch.randn(shape, requires_grad=True)
    nothing = torch.zeros(shape, dtype=torch.bool)
    value = loss(sims, nothing, nothing)
    value.backward()
    assert value == 0
    assert_close(sims.grad, torch.zeros(shape))


def test_gradients_reach_pairs_only():
    sims, pos, neg = _random_pairs()
    sims.requires_grad_()
    contrastive_loss(sims, pos, neg).backward()
    assert (sims.grad[pos] < 0).all() and (sims.grad[neg] > 0).all()
    assert (sims.grad[~(pos | neg)] == 0).all()


def test_aux_cosine_loss_by_hand():
    cosines = torch.tensor([[0.5, 0.5, 1.], [1., 0., -1.], [1., 1., 1.]])
    pos = torch.tensor([[True, False, False], [False] * 3, [False] * 3])
    neg = torch.tensor([[False, True, False], [True] * 3, [False] * 3])
    # (1/4 + 1/4) / 2, then (1 + 0 + 1) / 3; the last anchor has no pair
    assert_close(
        aux_cosine_loss(cosines, pos, neg), torch.tensor((1 / 4 + 2 / 3) / 2))


def test_sample_negatives():
    torch.manual_seed(0)
    pos = torch.zeros(3, 50, dtype=torch.bool)
    neg = torch.zeros(3, 50, dtype=torch.bool)
    pos[0, :2], neg[0, 2:] = True, True  # 2 positives: 20 of 48
    neg[1, 10:] = True  # no positive: 10 of 40
    pos[2, :3], neg[2, 3:7] = True, True  # fewer than wanted: all 4
    sampled = sample_negatives(pos, neg)
    assert sampled.sum(1).tolist() == [20, 10, 4]
    assert not (sampled & ~neg).any()
    assert not torch.equal(sampled, sample_negatives(pos, neg))


@pytest.mark.parametrize('loss', [contrastive_loss, aux_cosine_loss])
def test_bad_pairs(loss):
    sims, pos, neg = _random_pairs()
    with pytest.raises(ValueError, match='share one shape'):
        loss(sims, pos[:-1], neg)
    with pytest.raises(ValueError, match='must be bool'):
        loss(sims, pos.float(), neg)
    with pytest.raises(ValueError, match='positive and negative'):
        loss(sims, pos, neg | pos)
