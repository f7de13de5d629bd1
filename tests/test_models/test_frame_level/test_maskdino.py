# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy

import pytest
import torch
from mmdet.models.layers import inverse_sigmoid
from torch.testing import assert_close

from refinevis_mm.models.frame_level.maskdino import (generate_proposals,
                                                      masks_to_boxes)
from refinevis_mm.models.frame_level.maskdino_decoder import LOGIT_EPS
from refinevis_mm.registry import MODELS
from tests.demo_clips import (clip_targets, empty_clip, tiny_model_cfg,
                              two_object_clip)
from tests.training_checks import assert_frames_train


@pytest.fixture(scope='module')
def frame_model():
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_cfg().frame_model)
    model.init_weights()
    return model.train()  # the statistics of its backbone are frozen


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
    targets = clip_targets(two_object_clip())
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
        torch.randn(2, 3, 64, 96), clip_targets(two_object_clip()))
    assert_close(frame_model.classify(out.embeds), out.layers[-1].cls_logits)
    masks = frame_model.segment(out.embeds, out.mask_features)
    assert_close(
        masks,
        torch.einsum('bqc,bchw->bqhw', out.layers[-1].mask_embeds,
                     out.mask_features))


def test_heads_read_two_layer_norms_and_boxes_both_states(frame_model):
    """LN(LN(x)) for the heads; an output box is of LN(x), an anchor of x."""
    model = copy.deepcopy(frame_model).eval()
    decoder, head = model.decoder, model.head
    torch.nn.init.normal_(decoder.norm.weight)  # else once looks like twice
    for layer in head.fc_reg.layers:  # boxes that differ from their anchors
        torch.nn.init.normal_(layer.weight, std=0.2)
    raw, anchors = [], []
    for layer in decoder.layers:
        layer.register_forward_hook(lambda *args: raw.append(args[-1]))
    decoder.register_forward_pre_hook(lambda _, args: anchors.append(args[2]))
    with torch.no_grad():
        out = model.forward_frames(torch.randn(1, 3, 64, 96))
        once = decoder.norm(raw[-1])
        assert_close(out.embeds, once)
        assert_close(out.cls_logits, head.fc_cls(decoder.norm(once)))
        assert not torch.allclose(out.cls_logits, head.fc_cls(once), atol=0.1)
        kernels = head.fc_mask(decoder.norm(once))
        assert_close(
            model.segment(out.embeds, out.mask_features),
            torch.einsum('bqc,bchw->bqhw', kernels, out.mask_features))

        def move(boxes, state):
            logits = inverse_sigmoid(boxes, eps=LOGIT_EPS)
            return (logits + head.fc_reg(state)).sigmoid()

        reference = move(anchors[0], raw[0])
        assert_close(out.boxes, move(reference, once))
        assert not torch.allclose(out.boxes, move(reference, raw[1]), atol=.01)
        wrong = move(anchors[0], decoder.norm(raw[0]))
        assert not torch.allclose(out.boxes, move(wrong, once), atol=.01)


@pytest.mark.parametrize('clip', [two_object_clip(), empty_clip()])
def test_every_parameter_gets_a_gradient(frame_model, clip):
    # five losses of 4 matching and 3 denoising sets
    assert_frames_train(frame_model, clip, num_losses=5 * 7)


def test_matching_finds_the_query_that_is_the_truth(frame_model):
    """Overwrite one query with the ground truth: it must be matched."""
    targets = clip_targets(two_object_clip())[0].frame(1)
    out = frame_model.forward_frames(
        torch.randn(2, 3, 64, 96), clip_targets(two_object_clip()))
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
        torch.full((2, 3, 64, 96), float('nan')),
        clip_targets(two_object_clip()))
    with pytest.raises(FloatingPointError, match='enc_cls_logits'):
        frame_model.loss_frames(
            out,
            [clip_targets(two_object_clip())[0].frame(t) for t in range(2)])


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
