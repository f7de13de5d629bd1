# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from refinevis_mm.models.association import ContrastiveHead, contrastive_loss
from refinevis_mm.models.denoising import AssociationCDN, ClipCdnQueryGenerator
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets, DnQueries
from tests.demo_clips import (clip_targets, demo_clip, empty_clip,
                              two_object_clip)


def _targets(valid):
    """Instance tables (bs, T, S) of clips without pixels."""
    valid = torch.as_tensor(valid, dtype=torch.bool)
    _, num_frames, num_slots = valid.shape
    return [
        ClipTargets(
            torch.arange(num_slots),
            torch.zeros(num_slots).long(), frames,
            torch.zeros(num_frames, num_slots, 4),
            torch.zeros(num_frames, num_slots, 1, 1).bool(),
            torch.arange(num_frames)) for frames in valid
    ]


def _queries(valid, num_groups, num_signs=2):
    """Layout of denoising queries for a table (bs, T, S)."""
    valid = torch.as_tensor(valid, dtype=torch.bool).flatten(0, 1)
    num_queries = num_groups * num_signs * valid.shape[1]
    return DnQueries(
        torch.zeros(len(valid), num_queries, 1),
        torch.zeros(len(valid), num_queries, 4), valid, num_groups, num_signs)


def _loss(embeds, valid, num_groups, num_signs=2, **kwargs):
    """Loss with both weights 1."""
    head = ContrastiveHead(in_channels=4, assoc_weight=1.0)
    losses = AssociationCDN(**kwargs).loss(
        embeds, _queries(valid, num_groups, num_signs), _targets(valid), head)
    assert list(losses) == ['loss_assoc_cdn']
    return losses['loss_assoc_cdn']


def _double_sum(embeds, valid, num_groups, num_signs=2):
    """The definition, one term after the other."""
    valid = torch.as_tensor(valid, dtype=torch.bool)
    num_clips, num_frames, num_slots = valid.shape
    embeds = embeds.double().view(num_clips, num_frames, num_groups, num_signs,
                                  num_slots, -1)
    anchors = []
    for b in range(num_clips):
        for t in range(1, num_frames):
            for j in range(num_slots):
                others = [s for s in range(num_slots) if s != j]
                others = [s for s in others if valid[b, t, s]]
                if not (valid[b, 0, j] and valid[b, t, j] and others):
                    continue
                for g in range(num_groups):
                    anchor = embeds[b, 0, g, 0, j]
                    total = 1.
                    for pos in embeds[b, t, :, 0, j]:
                        for neg in embeds[b, t][:, :, others].flatten(0, 2):
                            total += (anchor @ neg - anchor @ pos).exp()
                    anchors.append(total.log())
    return torch.stack(anchors).mean().float()


def test_by_hand():
    # one group, two objects, one-dimensional embeddings, no negatives: the
    # sums have one term, exp(v.k- - v.k+)
    embeds = torch.tensor([[[1.], [2.]], [[0.5], [math.log(3) + 0.5]]])
    expected = (math.log(1 + 3) + math.log(1 + 3**-2)) / 2
    valid = [[[1, 1], [1, 1]]]
    assert_close(
        _loss(embeds, valid, num_groups=1, num_signs=1),
        torch.tensor(expected))


CASES = {
    'all seen': [[[1, 1, 1], [1, 1, 1]]],
    'slot 0 leaves, slot 2 enters': [[[1, 1, 0], [0, 1, 1]]],
    'two clips, one of them padded': [[[1, 1, 1], [1, 1, 1]],
                                      [[1, 1, 0], [1, 1, 0]]],
    'three frames': [[[1, 1, 1], [1, 0, 1], [1, 1, 1]]],
    'one without a pair': [[[1, 0], [1, 0]], [[1, 1], [1, 1]]],
}


@pytest.mark.parametrize('num_signs', [1, 2])
@pytest.mark.parametrize('case', CASES)
def test_equals_double_sum(case, num_signs):
    torch.manual_seed(0)
    valid = torch.tensor(CASES[case])
    embeds = torch.randn(
        len(valid) * valid.shape[1], 2 * num_signs * valid.shape[2], 4)
    assert_close(
        _loss(embeds, valid, 2, num_signs),
        _double_sum(embeds, valid, 2, num_signs))


def test_equals_contrastive_loss_of_explicit_pairs():
    """Group 0 and 1, slots 0 and 1, pairs written down by hand."""
    torch.manual_seed(0)
    embeds = torch.randn(2, 8, 4)
    # queries: 0, 1 positive and 2, 3 negative of group 0, 4..7 of group 1
    pos = torch.zeros(4, 8, dtype=torch.bool)
    neg = torch.zeros(4, 8, dtype=torch.bool)
    for row, slot in enumerate((0, 1, 0, 1)):
        pos[row, [slot, slot + 4]] = True
        neg[row, [1 - slot, 3 - slot, 5 - slot, 7 - slot]] = True
    expected = contrastive_loss(embeds[0, [0, 1, 4, 5]] @ embeds[1].T, pos,
                                neg)
    assert_close(_loss(embeds, [[[1, 1], [1, 1]]], 2), expected)


def test_slot_order_does_not_matter():
    torch.manual_seed(0)
    valid = torch.tensor([[[1, 1, 0, 1], [1, 1, 1, 1]]])
    embeds = torch.randn(2, 2 * 2 * 4, 4)
    order = torch.tensor([2, 0, 3, 1])
    permuted = embeds.view(2, 2, 2, 4, 4)[:, :, :, order].flatten(1, 3)
    assert_close(
        _loss(permuted, valid[..., order], 2), _loss(embeds, valid, 2))


def test_empty_slots_and_own_negatives_are_ignored():
    torch.manual_seed(0)
    valid = [[[1, 1, 0, 1], [1, 1, 0, 0]]]
    embeds = torch.randn(2, 2 * 2 * 4, 4, requires_grad=True)
    _loss(embeds, valid, 2).backward()
    used = embeds.grad.abs().sum(-1).view(2, 2, 2, 4) > 0
    # key: positives of slots 0, 1; reference: positives and, as negatives of
    # each other, negatives of slots 0, 1
    key, ref = torch.zeros(2, 2, 2, 4, dtype=torch.bool)
    key[:, 0, :2] = True
    ref[:, :, :2] = True
    assert torch.equal(used, torch.stack([key, ref]))

    # slot 1 alone has an anchor: its own negatives in the reference frame
    # are neither positive nor negative
    embeds = torch.randn(2, 2 * 2 * 2, 4, requires_grad=True)
    _loss(embeds, [[[0, 1], [1, 1]]], 2).backward()
    used = embeds.grad.abs().sum(-1).view(2, 2, 2, 2) > 0
    assert used[0].tolist() == [[[False, True], [False, False]]] * 2
    assert used[1].tolist() == [[[True, True], [True, False]]] * 2


@pytest.mark.parametrize('valid', [
    [[[1], [1]]],
    [[[1, 0], [1, 0]]],
    [[[1, 1], [1, 0]]],
    [[[0, 1], [1, 0]]],
    [[[1, 1]]],
    [[[], []]],
])
def test_nothing_to_tell_apart(valid):
    head = ContrastiveHead(in_channels=4, feat_channels=4, embed_dims=4)
    dn_queries = _queries(valid, 2)
    states = torch.randn(len(dn_queries.valid), dn_queries.num_queries, 4)
    losses = AssociationCDN().loss(
        head(states), dn_queries, _targets(valid), head)
    losses['loss_assoc_cdn'].backward()
    assert losses['loss_assoc_cdn'] == 0
    for param in head.parameters():
        assert_close(param.grad, torch.zeros_like(param))


def test_weights_and_registry():
    torch.manual_seed(0)
    valid, embeds = [[[1, 1], [1, 1]]], torch.randn(2, 4, 4)
    module = MODELS.build(
        dict(type='refinevis_mm.AssociationCDN', loss_weight=0.5))
    head = ContrastiveHead(assoc_weight=3.0)
    losses = module.loss(embeds, _queries(valid, 1), _targets(valid), head)
    assert_close(losses['loss_assoc_cdn'], 1.5 * _loss(embeds, valid, 1))


def test_large_dot_products_stay_finite():
    embeds = torch.full((2, 4, 4), 200., dtype=torch.bfloat16)
    embeds[0, 0] = -200
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = _loss(embeds.requires_grad_(), [[[1, 1], [1, 1]]], 1)
    assert loss.dtype == torch.float32 and loss.isfinite()
    loss.backward()
    assert embeds.grad.isfinite().all()


@pytest.mark.parametrize('clips',
                         [[two_object_clip()], [empty_clip()],
                          [empty_clip(), two_object_clip()]])
def test_real_targets_and_generator(clips):
    """One object in the key frame, another one in the second frame only."""
    targets = clip_targets(*clips)
    dn_queries = ClipCdnQueryGenerator(6, 8, num_dn_pairs=4)(targets)
    head = ContrastiveHead(in_channels=8)
    losses = AssociationCDN().loss(
        head(dn_queries.content), dn_queries, targets, head)
    losses['loss_assoc_cdn'].backward()
    has_objects = len(clips[-1][1].gt_instances) > 0
    assert (losses['loss_assoc_cdn'] > 0) == has_objects


def test_objects_become_distinct():
    """Gradient descent on free embeddings separates three objects."""
    torch.manual_seed(0)
    clip = demo_clip([[(i * 20, 5, i * 20 + 15, 25) for i in range(3)]] * 2,
                     [1, 2, 3], [0, 0, 0])
    targets = clip_targets(clip)
    dn_queries = ClipCdnQueryGenerator(6, 8, num_dn_pairs=6)(targets)
    embeds = torch.randn(2, 12, 8, requires_grad=True)
    optimizer = torch.optim.SGD([embeds], lr=1.0)
    for _ in range(50):
        optimizer.zero_grad()
        loss = AssociationCDN().loss(embeds, dn_queries, targets,
                                     ContrastiveHead())['loss_assoc_cdn']
        loss.backward()
        optimizer.step()
    key, ref = embeds.detach().view(2, 2, 2, 3, 8)[:, :, 0]  # positives
    sims = torch.einsum('gse,hze->ghsz', key, ref)
    assert torch.equal(sims.argmax(-1), torch.arange(3).expand(2, 2, 3))


class LargestTensor(TorchDispatchMode):
    """Remembers the elements of the largest tensor an operation returns."""

    num_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operation and measure its results."""
        results = func(*args, **(kwargs or {}))
        for result in tree_flatten(results)[0]:
            if isinstance(result, torch.Tensor):
                self.num_elements = max(self.num_elements, result.numel())
        return results


def test_pairs_are_never_expanded():
    """500 pairs: 500 x 1000 dot products, not 500 x 100 x 800 pairs."""
    num_groups, num_slots, num_dims = 100, 5, 8
    valid = torch.ones(1, 2, num_slots)
    embeds = torch.randn(
        2, 2 * num_groups * num_slots, num_dims, requires_grad=True)
    with LargestTensor() as largest:
        _loss(embeds, valid, num_groups).backward()
    assert largest.num_elements == 500 * 1000


@pytest.mark.parametrize('shape', [(2, 5, 4), (3, 4, 4), (8, 4)])
def test_bad_embeddings(shape):
    with pytest.raises(ValueError, match=r'must be \(2, 4, E\)'):
        _loss(torch.zeros(shape), [[[1, 1], [1, 1]]], 1)


def test_bad_weight():
    with pytest.raises(ValueError, match='loss_weight must be >= 0, got -1'):
        AssociationCDN(loss_weight=-1)
