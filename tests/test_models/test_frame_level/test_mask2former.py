# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import re

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models.frame_level.mask2former import (Mask2Former,
                                                         softmax_log_odds)
from refinevis_mm.models.frame_level.mask2former_head import Mask2FormerHead
from refinevis_mm.registry import MODELS
from tests.demo_clips import (clip_targets, demo_clip, empty_clip,
                              two_object_clip)
from tests.model_stream import ModelStream
from tests.tiny_mask2former import tiny_mask2former_cfg
from tests.training_checks import assert_frames_train, assert_trains


def build(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


@pytest.fixture(scope='module')
def frame_model():
    return build(tiny_mask2former_cfg().frame_model)


def test_shapes_and_prediction_sets(frame_model):
    out = frame_model.forward_frames(
        torch.randn(2, 3, 64, 96), clip_targets(two_object_clip()))
    assert out.embeds.shape == (2, 12, 32) and out.embeds.requires_grad
    assert out.cls_logits.shape == (2, 12, 40)
    assert out.boxes.shape == (2, 12, 4) and not out.boxes.requires_grad
    assert out.mask_features.shape == (2, 32, 16, 24)
    assert [layer.prefix for layer in out.layers] == ['d0.', 'd1.', '']
    assert out.layers[0].cls_logits.shape == (2, 12, 41)
    assert out.dn_layers == [] and out.dn_queries is None


def test_embeddings_carry_the_predictions(frame_model):
    out = frame_model.forward_frames(
        torch.randn(2, 3, 64, 96), clip_targets(two_object_clip()))
    last = out.layers[-1]
    assert torch.equal(frame_model.classify(out.embeds), last.cls_logits)
    masks = frame_model.segment(out.embeds, out.mask_features)
    assert_close(
        masks,
        torch.einsum('bqc,bchw->bqhw', last.mask_embeds, out.mask_features))
    scores = last.cls_logits.softmax(-1)[..., :40]
    assert_close(frame_model.class_scores(out.embeds), scores)
    assert_close(out.cls_logits.sigmoid(), scores)
    # before the last LayerNorm: it changes neither mean nor scale of these
    shifted = 3 * out.embeds + 1
    assert_close(
        frame_model.classify(shifted), last.cls_logits, atol=1e-4, rtol=1e-4)


def test_boxes_are_those_of_the_masks(frame_model):
    out = frame_model.forward_frames(torch.randn(1, 3, 64, 96))
    masks = frame_model.segment(out.embeds, out.mask_features)[0] > 0
    assert masks.any(-1).any(-1).sum() > 2
    for box, mask in zip(out.boxes[0], masks):
        if not mask.any():
            assert not box.any()
            continue
        y, x = mask.nonzero().T
        left, right, top, bottom = x.min(), x.max() + 1, y.min(), y.max() + 1
        assert_close(
            box * torch.tensor([24, 16, 24, 16]),
            torch.stack([(left + right) / 2, (top + bottom) / 2, right - left,
                         bottom - top]))


def test_log_odds():
    logits = torch.tensor([[0., 0., 0.], [2., -1., 0.5], [0., -90., -90.]])
    odds = softmax_log_odds(logits)
    probs = logits.softmax(-1)[:, :2]
    assert_close(odds.sigmoid(), probs)
    assert_close(odds[0], torch.log(torch.tensor([0.5, 0.5])))  # 1/3 : 2/3
    assert torch.isfinite(odds).all()


def test_network_and_losses_are_those_of_mmdet(frame_model):
    """Same weights, same predictions and losses as mmdet's own head."""
    cfg = tiny_mask2former_cfg().frame_model.head
    cfg.type = 'Mask2FormerHead'
    head = MMDET_MODELS.build(cfg)
    head.load_state_dict(frame_model.head.state_dict())
    images = torch.randn(2, 3, 64, 96)
    targets, = clip_targets(two_object_clip())
    with torch.no_grad():
        feats = frame_model.backbone(images)
        expected = head(feats, None)
        for found, other in zip(frame_model.head(feats, None), expected):
            assert len(found) == len(other) == 3
            for a, b in zip(found, other):
                assert torch.equal(a, b)
        instances = [
            InstanceData(
                labels=targets.frame(t).labels, masks=targets.frame(t).masks)
            for t in range(2)
        ]
        torch.manual_seed(0)
        expected = head.loss_by_feat(*expected, instances, [{}, {}])
        torch.manual_seed(0)
        found = frame_model.loss_frames(
            frame_model.forward_frames(images, [targets]),
            [targets.frame(0), targets.frame(1)])
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert_close(found[key], value.squeeze())  # some have shape (1, )


def test_checkpoint_of_the_detector_loads(frame_model):
    """mmdet calls the head panoptic_head."""
    weights = {
        re.sub('^head', 'panoptic_head', key): value + 1
        for key, value in frame_model.state_dict().items()
    }
    other = MODELS.build(tiny_mask2former_cfg().frame_model)
    missing, unexpected = other.load_state_dict(weights, strict=False)
    assert missing == unexpected == []
    assert_close(other.head.cls_embed.bias,
                 frame_model.head.cls_embed.bias + 1)


def test_matching_finds_the_right_queries(frame_model):
    targets, = clip_targets(two_object_clip())
    out = frame_model.forward_frames(torch.randn(2, 3, 64, 96), [targets])
    last = out.layers[-1]
    cls_logits = torch.zeros_like(last.cls_logits)
    cls_logits[1, 3, 2] = cls_logits[1, 8, 5] = 20.  # the labels of the clip
    last.cls_logits = cls_logits
    first, second = frame_model.match(
        out, [targets.frame(0), targets.frame(1)])
    assert (first.gt_inds >= 0).sum() == 1
    # slots follow the ids: 4 (label 5), then 7 (label 2)
    assert second.best_query.tolist() == [8, 3]
    assert second.gt_inds[[8, 3]].tolist() == [0, 1]
    last.cls_logits[0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match='cls_logits'):
        frame_model.match(out, [targets.frame(0), targets.frame(1)])
    with pytest.raises(FloatingPointError, match='cls_logits'):
        frame_model.loss_frames(out, [targets.frame(0), targets.frame(1)])


@pytest.mark.parametrize('clip', [two_object_clip(), empty_clip()])
def test_every_parameter_gets_a_gradient(frame_model, clip):
    assert_frames_train(frame_model, clip, num_losses=3 * 3)


@pytest.mark.parametrize('clip', [two_object_clip, empty_clip])
def test_refinevis_trains(clip):
    model = build(tiny_mask2former_cfg()).train()
    assert isinstance(model.frame_model, Mask2Former)
    assert isinstance(model.frame_model.head, Mask2FormerHead)
    losses = model.loss(torch.randn(1, 2, 3, 64, 96), [clip()])
    assert {'loss_refine_cls', 'loss_refine_mask', 'loss_refine_dice'} < \
        set(losses)
    assert_trains(model, losses)


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_refined_is_the_frame_result_at_initialisation(mode):
    cfg = tiny_mask2former_cfg()
    cfg.update(mode=mode, cls_thr=0.0)
    cfg.tracker.update(
        select_score_thr=0.0,
        init_score_thr=0.0,
        new_score_thr=0.0,
        min_track_frames=1)
    model = build(cfg).eval()
    images = torch.randn(1, 3, 64, 96)

    def results(window):
        model.window = window
        metas = [
            dict(frame_id=t, img_shape=(64, 96), ori_shape=(64, 96))
            for t in range(4)
        ]
        return ModelStream(model).run(images.expand(4, -1, -1, -1), metas)

    with torch.no_grad():
        plain, refined = results(0), results(3)
    assert len(plain) == len(refined) == 4
    for a, b in zip(plain, refined):
        # other rows are objects that the tracker missed in this frame
        rows = [b.ids.index(track_id) for track_id in a.ids]
        assert rows and b.detected[rows].all() and b.detected.sum() == len(
            rows)
        assert_close(a.cls_scores, b.cls_scores[rows], rtol=1e-4, atol=1e-6)
        # rounding may turn a pixel at the border of a mask
        assert (a.masks ^ b.masks[rows]).float().mean() < 1e-3


def test_predict_reports_tracklets():
    cfg = tiny_mask2former_cfg()
    cfg.cls_thr = cfg.tracker.select_score_thr = 0.0
    cfg.tracker.init_score_thr = 0.0
    model = build(cfg).eval()
    images = torch.randn(1, 1, 3, 64, 96)
    with torch.no_grad():
        for t in range(2):
            clip = demo_clip([[(8, 8, 40, 40)]], [1], [0],
                             first_frame=t,
                             video_length=2)
            out, = model.predict(images, [clip])
    tracklets = out.metainfo['pred_tracklets']
    assert len(tracklets) >= 40
    assert {item['label'] for item in tracklets} == set(range(40))
    assert all(len(item['segmentations']) == 2 for item in tracklets)


def test_objects_are_compared_by_what_the_heads_see(frame_model):
    embeds = torch.randn(2, 5, 32) * 3 + 1
    seen = frame_model.match_embeds(embeds)
    assert_close(seen, frame_model.head.transformer_decoder.post_norm(embeds))
    head = frame_model.head
    assert_close(frame_model.classify(embeds), head.cls_embed(seen))
    features = torch.randn(2, 32, 4, 6)
    assert_close(
        frame_model.segment(embeds, features),
        torch.einsum('bqc,bchw->bqhw', head.mask_embed(seen), features))
