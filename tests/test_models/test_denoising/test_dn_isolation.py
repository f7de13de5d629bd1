# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Who sees whom among denoising groups and matching queries.

Checked by perturbing queries of the tiny MaskDINO: masked attention weights
are exactly 0, so what must not see the change must not change by one bit.
"""
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.registry import MODELS
from tests.demo_clips import clip_targets, demo_clip, tiny_model_cfg

NUM_GROUPS, NUM_SLOTS = 3, 2
GROUP_SIZE = 2 * NUM_SLOTS


@pytest.fixture(scope='module')
def setting():
    """Model, frames, targets and denoising queries of a two-object clip."""
    torch.manual_seed(0)
    cfg = tiny_model_cfg(
        model=dict(
            frame_model=dict(
                dn_query_generator=dict(num_dn_pairs=NUM_GROUPS * NUM_SLOTS))))
    model = MODELS.build(cfg.frame_model)
    model.init_weights()
    boxes = [(8, 8, 40, 40), (60, 20, 90, 50)]
    clip = demo_clip([boxes, boxes], ids=[7, 4], labels=[2, 5])
    images = torch.randn(2, 3, 64, 96)
    targets = clip_targets(clip)
    return model, images, targets, model.dn_query_generator(targets)


def _forward(setting, monkeypatch, dn_queries=None, matching_noise=0.):
    """Frame output with given denoising and changed matching queries."""
    model, images, targets, drawn = setting
    select = model.select_queries

    def noisy_select(*args):
        content, *others = select(*args)
        noise = torch.randn(
            content.shape, generator=torch.Generator().manual_seed(0))
        return [content + matching_noise * noise, *others]

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(model.dn_query_generator, 'forward',
                      lambda _: dn_queries or drawn)
        patch.setattr(model, 'select_queries', noisy_select)
        return model.forward_frames(images, targets)


def _perturb(dn_queries, group):
    """Other contents and boxes for one group."""
    queries = slice(group * GROUP_SIZE, (group + 1) * GROUP_SIZE)
    content, boxes = dn_queries.content.clone(), dn_queries.boxes.clone()
    content[:, queries] += 1
    boxes[:, queries] = 0.3
    return replace(dn_queries, content=content, boxes=boxes)


def _matching_tensors(output):
    """Everything predicted from matching queries."""
    tensors = [output.embeds, output.cls_logits, output.boxes]
    for layer in output.layers:
        tensors += [layer.cls_logits, layer.boxes, layer.mask_embeds]
    return tensors


def _group_tensors(output, group):
    """Everything predicted from one group of denoising queries."""
    queries = slice(group * GROUP_SIZE, (group + 1) * GROUP_SIZE)
    tensors = [output.dn_embeds[:, queries]]
    for layer in output.dn_layers:
        tensors += [
            layer.cls_logits[:, queries], layer.boxes[:, queries],
            layer.mask_embeds[:, queries]
        ]
    return tensors


def _equal(tensors, others):
    assert len(tensors) == len(others) > 0
    return [torch.equal(a, b) for a, b in zip(tensors, others)]


def test_layout(setting):
    dn_queries = setting[-1]
    assert dn_queries.num_groups == NUM_GROUPS
    assert dn_queries.num_slots == NUM_SLOTS
    assert dn_queries.num_queries == NUM_GROUPS * GROUP_SIZE


@pytest.mark.parametrize('group', range(NUM_GROUPS))
def test_a_group_is_seen_by_itself_only(setting, monkeypatch, group):
    before = _forward(setting, monkeypatch)
    after = _forward(setting, monkeypatch, _perturb(setting[-1], group))
    assert all(_equal(_matching_tensors(before), _matching_tensors(after)))
    for other in range(NUM_GROUPS):
        equal = _equal(
            _group_tensors(before, other), _group_tensors(after, other))
        assert not any(equal) if other == group else all(equal)


def test_queries_of_a_group_see_each_other(setting, monkeypatch):
    """Changing slot 0 of a group changes slot 1, positive and negative."""
    content = setting[-1].content.clone()
    content[:, GROUP_SIZE] += 1  # positive of slot 0 in group 1
    before = _forward(setting, monkeypatch)
    after = _forward(setting, monkeypatch,
                     replace(setting[-1], content=content))
    changed = (before.dn_embeds != after.dn_embeds).any(-1).any(0)
    expected = torch.arange(NUM_GROUPS * GROUP_SIZE) // GROUP_SIZE == 1
    assert torch.equal(changed, expected)


def test_denoising_sees_matching_queries(setting, monkeypatch):
    before = _forward(setting, monkeypatch)
    after = _forward(setting, monkeypatch, matching_noise=1.)
    assert (before.embeds != after.embeds).any(-1).all()
    assert (before.dn_embeds != after.dn_embeds).any(-1).all()


def test_matching_is_the_same_without_denoising(setting, monkeypatch):
    model, images, _, _ = setting
    output = _forward(setting, monkeypatch)
    with torch.no_grad():
        plain = model.forward_frames(images)
    assert plain.dn_queries is None
    for name in ('embeds', 'cls_logits', 'boxes'):
        assert_close(getattr(output, name), getattr(plain, name))


def test_association_cdn_leaves_other_losses_alone():
    cfg = tiny_model_cfg().to_dict()
    boxes = [(8, 8, 40, 40), (60, 20, 90, 50)]
    clip = demo_clip([boxes, boxes], ids=[7, 4], labels=[2, 5])
    losses = {}
    for association_cdn in (None, dict(type='refinevis_mm.AssociationCDN')):
        torch.manual_seed(0)
        model = MODELS.build(dict(cfg, association_cdn=association_cdn))
        model.init_weights()
        losses[association_cdn is not None] = model.loss(
            torch.randn(1, 2, 3, 64, 96), [clip])
    added = losses[True].pop('loss_assoc_cdn')
    assert added > 0
    assert losses[True].keys() == losses[False].keys()
    assert any('dn_' in name for name in losses[False])
    for name, value in losses[False].items():
        assert torch.equal(losses[True][name], value), name
