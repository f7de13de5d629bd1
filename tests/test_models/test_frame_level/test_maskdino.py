# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.frame_level.maskdino import (generate_proposals,
                                                      masks_to_boxes)
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets
from tests.demo_clips import empty_clip, tiny_model_cfg, two_object_clip


@pytest.fixture(scope='module')
def frame_model():
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_cfg().frame_model)
    model.init_weights()
    return model


def _targets(clip):
    return [ClipTargets.from_data_sample(clip, torch.zeros(2, 3, 64, 96))]


def test_proposals_by_hand():
    boxes, valid = generate_proposals(torch.tensor([[1, 2], [1, 1]]))
    assert_close(
        boxes,
        torch.tensor([[0.25, 0.5, 0.05, 0.05], [0.75, 0.5, 0.05, 0.05],
                      [0.5, 0.5, 0.1, 0.1]]))
    assert valid.all()
    # the first column of 100 has its centre at 0.005: too near the border
    assert generate_proposals(torch.tensor([[1, 100]]))[1].sum() == 98


def test_masks_to_boxes_by_hand():
    masks = torch.zeros(3, 4, 8, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 0, 0] = masks[1, 3, 7] = True
    boxes, empty = masks_to_boxes(masks)
    assert_close(boxes[0], torch.tensor([0.5, 0.5, 0.5, 0.5]))
    assert_close(boxes[1], torch.tensor([0.5, 0.5, 1.0, 1.0]))
    assert empty.tolist() == [False, False, True]


def test_shapes_and_prediction_sets(frame_model):
    targets = _targets(two_object_clip())
    out = frame_model.forward_frames(torch.randn(2, 3, 64, 96), targets)
    assert out.embeds.shape == (2, 12, 32)
    assert out.cls_logits.shape == (2, 12, 7)
    assert out.boxes.shape == (2, 12, 4)
    assert out.mask_features.shape == (2, 32, 16, 24)
    assert [layer.prefix for layer in out.layers] == \
        ['enc_', 'init.', 'd0.', '']
    assert [layer.prefix for layer in out.dn_layers] == \
        ['init.dn_', 'd0.dn_', 'dn_']
    assert out.dn_embeds.shape == (2, 8, 32)


def test_last_layer_is_what_the_shared_heads_say(frame_model):
    out = frame_model.forward_frames(
        torch.randn(2, 3, 64, 96), _targets(two_object_clip()))
    assert_close(frame_model.classify(out.embeds), out.layers[-1].cls_logits)
    masks = frame_model.segment(out.embeds, out.mask_features)
    assert_close(
        masks,
        torch.einsum('bqc,bchw->bqhw', out.layers[-1].mask_embeds,
                     out.mask_features))


def test_denoising_does_not_leak_into_matching_queries(frame_model):
    frame_model.eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        alone = frame_model.forward_frames(images)
        beside = frame_model.forward_frames(images,
                                            _targets(two_object_clip()))
    frame_model.train()
    assert_close(alone.embeds, beside.embeds, atol=1e-5, rtol=1e-5)
    assert_close(alone.boxes, beside.boxes, atol=1e-5, rtol=1e-5)


def test_groups_do_not_see_each_other(frame_model):
    """Perturb one group: the other and the matching queries stay."""
    frame_model.eval()
    images, targets = torch.randn(2, 3, 64, 96), _targets(two_object_clip())
    generator = frame_model.dn_query_generator
    dn = generator(targets)
    outs = []
    for shift in (0.0, 1.0):
        moved = dn.select_frames(torch.arange(2))
        moved.content = dn.content.clone()
        moved.content[:, 4:] += shift  # group 1 of two groups of 4 queries
        generator.forward = lambda targets, moved=moved: moved
        with torch.no_grad():
            outs.append(frame_model.forward_frames(images, targets))
    del generator.forward
    frame_model.train()
    assert_close(outs[0].dn_embeds[:, :4], outs[1].dn_embeds[:, :4])
    assert_close(outs[0].embeds, outs[1].embeds)
    assert not torch.allclose(outs[0].dn_embeds[:, 4:], outs[1].dn_embeds[:,
                                                                          4:])


@pytest.mark.parametrize('clip', [two_object_clip(), empty_clip()])
def test_every_parameter_gets_a_gradient(frame_model, clip):
    frame_model.zero_grad(set_to_none=True)
    targets = _targets(clip)
    out = frame_model.forward_frames(torch.randn(2, 3, 64, 96), targets)
    losses = frame_model.loss_frames(out,
                                     [targets[0].frame(t) for t in range(2)])
    assert len(losses) == 5 * 7  # 4 matching and 3 denoising sets
    sum(losses.values()).backward()
    missing = [
        name for name, param in frame_model.named_parameters()
        if param.requires_grad and param.grad is None
    ]
    assert missing == []
    assert all(
        torch.isfinite(param.grad).all() for param in frame_model.parameters()
        if param.grad is not None)


def test_matching_finds_the_query_that_is_the_truth(frame_model):
    """Overwrite one query with the ground truth: it must be matched."""
    targets = _targets(two_object_clip())[0].frame(1)
    out = frame_model.forward_frames(
        torch.randn(2, 3, 64, 96), _targets(two_object_clip()))
    layer = out.select_frames(torch.tensor([1])).layers[-1]
    layer.cls_logits = torch.full_like(layer.cls_logits, -5.0)
    layer.boxes = torch.full_like(layer.boxes, 0.01)
    for query, gt in ((3, 1), (9, 0)):
        layer.boxes[0, query] = targets.boxes[gt]
        layer.cls_logits[0, query, targets.labels[gt]] = 5.0
    (match, ), = frame_model.head.match([layer],
                                        torch.zeros_like(
                                            out.mask_features[1:]), [targets])
    assert match.gt_inds[3] == 1 and match.gt_inds[9] == 0
    assert (match.gt_inds >= 0).sum() == 2
    assert match.best_query.tolist() == [9, 3]


def test_nan_is_named(frame_model):
    out = frame_model.forward_frames(
        torch.full((2, 3, 64, 96), float('nan')), _targets(two_object_clip()))
    with pytest.raises(FloatingPointError, match='enc_cls_logits'):
        frame_model.loss_frames(
            out, [_targets(two_object_clip())[0].frame(t) for t in range(2)])


def test_sizes_not_divisible_by_32(frame_model):
    frame_model.eval()
    with torch.no_grad():
        out = frame_model.forward_frames(torch.randn(1, 3, 75, 90))
    frame_model.train()
    assert out.mask_features.shape == (1, 32, 19, 23)
    assert torch.isfinite(out.boxes).all()


def test_objects_are_compared_by_what_the_heads_see(frame_model):
    embeds = torch.randn(2, 5, 32) * 3 + 1
    seen = frame_model.match_embeds(embeds)
    head = frame_model.head
    assert_close(frame_model.classify(embeds), head.fc_cls(seen))
    features = torch.randn(2, 32, 4, 6)
    assert_close(
        frame_model.segment(embeds, features),
        torch.einsum('bqc,bchw->bqhw', head.fc_mask(seen), features))
    assert (seen - embeds).abs().max() > 0.1
