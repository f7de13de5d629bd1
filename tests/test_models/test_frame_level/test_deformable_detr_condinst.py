# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.frame_level.condinst_masks import dynamic_masks
from refinevis_mm.registry import MODELS
from tests.demo_clips import (clip_targets, demo_clip, empty_clip,
                              two_object_clip)
from tests.tiny_idol import tiny_idol_cfg, tiny_tar_head_cfg
from tests.training_checks import assert_frames_train


@pytest.fixture(scope='module')
def frame_model():
    torch.manual_seed(0)
    model = MODELS.build(tiny_idol_cfg().model.frame_model)
    model.init_weights()
    return model


def test_shapes_and_prediction_sets(frame_model):
    out = frame_model.forward_frames(
        torch.randn(2, 3, 64, 96), clip_targets(two_object_clip()))
    assert out.embeds.shape == (2, 12, 32)
    assert out.cls_logits.shape == (2, 12, 40)
    assert out.boxes.shape == (2, 12, 4)
    assert out.mask_features.shape == (2, 8, 8, 12)
    assert [layer.prefix for layer in out.layers] == ['d0.', '']
    assert out.layers[0].mask_embeds.shape == (2, 12, 169)
    assert out.dn_layers == []


def test_last_layer_is_what_the_shared_heads_say(frame_model):
    out = frame_model.forward_frames(
        torch.randn(2, 3, 64, 96), clip_targets(two_object_clip()))
    last = out.layers[-1]
    assert_close(frame_model.classify(out.embeds), last.cls_logits)
    assert_close(out.boxes, last.boxes)
    assert_close(out.mask_boxes, last.mask_boxes)
    # placed by the centre of the layer before
    assert_close(out.mask_boxes[..., :2], out.layers[0].boxes[..., :2])
    masks = frame_model.segment(out.embeds, out.mask_features, out.mask_boxes)
    assert masks.shape == (2, 12, 16, 24)
    assert_close(
        masks,
        dynamic_masks(last.mask_embeds, out.mask_features, out.mask_boxes))


def test_targets_do_not_change_predictions(frame_model):
    frame_model.eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        alone = frame_model.forward_frames(images)
        beside = frame_model.forward_frames(images,
                                            clip_targets(two_object_clip()))
    frame_model.train()
    assert alone.layers == []
    assert torch.equal(alone.boxes, beside.boxes)


def test_masks_move_with_the_box_centre(frame_model):
    """Shifting features and centre by a cell shifts the mask."""
    torch.manual_seed(0)
    embeds, feats = torch.randn(1, 1, 32), torch.rand(1, 8, 8, 12)
    box = torch.tensor([[[0.25, 0.5, 0.1, 0.1]]])
    moved = box + torch.tensor([1 / 12, 0., 0., 0.])
    with torch.no_grad():
        here = frame_model.segment(embeds, feats, box)
        there = frame_model.segment(embeds, feats.roll(1, 3), moved)
    assert_close(here[..., 2:-4], there[..., 4:-2], atol=1e-4, rtol=1e-5)
    with pytest.raises(ValueError, match='boxes must be given'):
        frame_model.segment(embeds, feats)


@pytest.mark.parametrize('clip', [two_object_clip(), empty_clip()])
def test_every_parameter_gets_a_gradient(frame_model, clip):
    assert_frames_train(frame_model, clip, num_losses=5 * 2)


def test_loss_falls_when_one_frame_is_learnt():
    torch.manual_seed(0)
    model = MODELS.build(tiny_idol_cfg().model.frame_model)
    model.init_weights()
    image, targets = torch.randn(1, 3, 64, 96), clip_targets(two_object_clip())
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    totals = []
    for _ in range(20):
        losses = model.loss_frames(
            model.forward_frames(image, targets), [targets[0].frame(1)])
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.6 * totals[0]


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_tar_refines_its_embeddings(mode):
    """Masks of missed frames are placed by interpolated boxes."""
    torch.manual_seed(0)
    cfg = tiny_idol_cfg().model
    cfg.update(mode=mode, window=3, **tiny_tar_head_cfg())
    cfg.tracker.select_score_thr = cfg.tracker.init_score_thr = 0.0
    model = MODELS.build(cfg)
    model.init_weights()
    losses = model.loss(torch.randn(1, 2, 3, 64, 96), [two_object_clip()])
    assert {'loss_refine_cls', 'loss_refine_mask', 'loss_refine_dice'} < \
        set(losses)
    assert torch.isfinite(sum(losses.values()))
    model.eval()
    with torch.no_grad():
        for t in range(4):
            out, = model.predict(
                torch.randn(1, 1, 3, 64, 96), [
                    demo_clip([[(8, 8, 40, 40)]], [1], [0],
                              first_frame=t,
                              video_length=4)
                ])
    assert isinstance(out.metainfo['pred_tracklets'], list)


def test_odd_sizes(frame_model):
    clip = demo_clip([[(8, 8, 40, 40)], [None]], [1], [3], 75, 91)
    targets = clip_targets(clip, height=75, width=91)
    out = frame_model.forward_frames(torch.randn(2, 3, 75, 91), targets)
    assert out.mask_features.shape == (2, 8, 10, 12)
    masks = frame_model.segment(out.embeds, out.mask_features, out.boxes)
    assert masks.shape == (2, 12, 20, 24)  # covers the frame: 80 x 96 pixels
    losses = frame_model.loss_frames(out,
                                     [targets[0].frame(t) for t in range(2)])
    assert torch.isfinite(sum(losses.values()))


def test_layers_of_head_and_decoder_must_agree():
    cfg = tiny_idol_cfg().model.frame_model
    cfg.head.num_layers = 3
    with pytest.raises(ValueError, match='num_layers .* got 3 and 2'):
        MODELS.build(cfg)


def test_what_padding_holds_does_not_matter(frame_model):
    frame_model.eval()
    images, sizes = torch.randn(2, 3, 64, 96), [(40, 90), (64, 50)]
    other = images.clone()
    other[0, :, 40:], other[1, :, :, 50:] = 9.0, -9.0
    with torch.no_grad():
        outs = [
            frame_model.forward_frames(frames, sizes=sizes)
            for frames in (images, other)
        ]
        full = frame_model.forward_frames(other)
    frame_model.train()
    for name in ('embeds', 'cls_logits', 'boxes', 'mask_features'):
        assert torch.equal(getattr(outs[0], name), getattr(outs[1], name))
        assert not torch.equal(getattr(outs[0], name), getattr(full, name))
    assert_close(outs[0].picture_shares,
                 torch.tensor([[90 / 96, 40 / 64], [50 / 96, 1]]))


def test_full_frames_need_no_sizes(frame_model):
    frame_model.eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        without = frame_model.forward_frames(images)
        full = frame_model.forward_frames(images, sizes=[(64, 96)] * 2)
    frame_model.train()
    assert torch.equal(without.boxes, full.boxes)
    assert torch.equal(full.picture_shares, torch.ones(2, 2))


def test_boxes_leave_the_model_relative_to_the_padded_input(frame_model):
    """Objects of a frame lie in its picture, whatever the canvas."""
    frame_model.eval()
    image = torch.randn(1, 3, 64, 96)
    canvas = torch.zeros(1, 3, 128, 192)
    canvas[..., :64, :96] = image
    with torch.no_grad():
        alone = frame_model.forward_frames(image)
        padded = frame_model.forward_frames(canvas, sizes=[(64, 96)])
    frame_model.train()
    # all but the convolutions at the border sees the same
    assert_close(padded.boxes * 2, alone.boxes, atol=0.02, rtol=0)
    assert (padded.boxes[..., :2] <= 0.5).all()


def test_masks_train_the_points_where_queries_start(frame_model):
    """And no box: references of later layers are detached."""
    out = frame_model.forward_frames(
        torch.randn(2, 3, 64, 96), clip_targets(two_object_clip()))
    weight = frame_model.decoder.reference_points.weight
    first, last = [
        torch.autograd.grad(
            layer.mask_boxes[..., :2].sum(),
            weight,
            retain_graph=True,
            materialize_grads=True,
            allow_unused=True)[0].abs().sum() for layer in out.layers
    ]
    assert first > 0 and last == 0
