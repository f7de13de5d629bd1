# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from mmdet.models.vis import Mask2FormerVideo
from mmdet.structures import TrackDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models.adapters.tar_mask2former_video import report_pairs
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import DecodedFrame
from tests.demo_clips import demo_clip, empty_clip, two_object_clip
from tests.tiny_mask2former import TINY_BACKBONE, TINY_HEAD, TINY_TAR_HEAD

CONFIG = 'configs/tar_dropin/' \
    'tar-mask2former_r50_8xb2-8e_youtubevis2021.py'
PARENT = dict(
    type='Mask2FormerVideo', track_head=dict(type='Mask2FormerTrackHead'))
TAR_KEYS = ('tar_head.', 'track_head.frame_proj.')
LENGTH = 5


def tiny_cfg(**options):
    """The shipped config, made tiny; ``options`` are merged last."""
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=TINY_BACKBONE,
                track_head=TINY_HEAD,
                tar_head=TINY_TAR_HEAD)))
    cfg.merge_from_dict(dict(model=options))
    return cfg.model


def build(**options):
    torch.manual_seed(0)
    model = MODELS.build(tiny_cfg(**options))
    model.init_weights()
    return model


def build_parent(model):
    """mmdet's own model with the weights of ``model``."""
    cfg = tiny_cfg(**PARENT)
    for key in ('tar_head', 'window'):
        cfg.pop(key)
    parent = MODELS.build(cfg)
    missing, unexpected = parent.load_state_dict(model.state_dict(), False)
    assert missing == []
    assert unexpected and all(key.startswith(TAR_KEYS) for key in unexpected)
    return parent


@pytest.fixture(scope='module')
def model():
    return build()


@pytest.fixture(scope='module')
def video():
    """A video of 62 x 90 pixels, padded, to be reported at 124 x 180."""
    sample = demo_clip([[(8, 8, 40, 40)]] * LENGTH, [1], [0])
    for frame in sample:
        frame.set_metainfo(
            dict(
                img_shape=(62, 90),
                ori_shape=(124, 180),
                batch_input_shape=(64, 96)))
    torch.manual_seed(0)
    return torch.randn(1, LENGTH, 3, 64, 96), [sample]


def predict(model, video, window=None):
    if window is not None:
        model.window = window
    with torch.no_grad():
        return model.eval().predict(*video)[0]


def assert_same_results(found, expected, **tolerance):
    assert len(found) == len(expected) == LENGTH
    for frame, other in zip(found, expected):
        frame, other = frame.pred_track_instances, other.pred_track_instances
        assert set(frame.keys()) == set(other.keys())
        for key in ('labels', 'masks', 'bboxes', 'instances_id'):
            assert torch.equal(frame[key], other[key]), key
        assert_close(frame.scores, other.scores, **tolerance)


def test_without_window_it_is_the_parent(model, video):
    expected = predict(build_parent(model), video)
    assert expected[0].pred_track_instances.masks.any()
    found = predict(model, video, 0)
    assert_same_results(found, expected, rtol=0, atol=0)
    with torch.no_grad():  # the head still is a head of mmdet
        found, = Mask2FormerVideo.predict(model, *video)
    assert_same_results(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize('window', [2, LENGTH])
def test_at_initialisation_refined_is_the_parent(model, video, window):
    """In every frame with a mask; the others are what refinement adds."""
    expected = predict(model, video, 0)
    found = predict(model, video, window)
    by_score = [
        sample[0].pred_track_instances.scores.argsort(descending=True)
        for sample in (found, expected)
    ]
    num_detected = 0
    for frame, other in zip(found, expected):
        frame = frame.pred_track_instances[by_score[0]]
        other = other.pred_track_instances[by_score[1]]
        assert torch.equal(frame.labels, other.labels)
        assert_close(frame.scores, other.scores, rtol=1e-4, atol=0)
        for mask, expected_mask in zip(frame.masks, other.masks):
            if expected_mask.any():
                num_detected += 1
                # rounding may turn a pixel at the border of a mask
                assert (mask ^ expected_mask).float().mean() < 1e-3
    assert num_detected > LENGTH


def test_frames_are_refined_in_consecutive_clips(model, video):
    """Frames 0-1, 2-3 and 4: each as TAR alone refines it."""
    tar_head = build().tar_head
    for param in tar_head.parameters():
        torch.nn.init.normal_(param, std=0.1)
    model = build().eval()
    model.tar_head, model.window = tar_head, 2
    head = model.track_head
    with torch.no_grad():
        clips = head.forward_clips(model.backbone(video[0][0]))
        masks = head.predict_sets(clips)[1][-1][0]
        queries = (masks > 0).flatten(2).any(2).all(1).nonzero().flatten()
        assert len(queries) > 0
        scores = head.class_scores(clips.states[-1])[0]
        results = model.refine(clips, scores, queries,
                               [frame.metainfo for frame in video[1][0]])
        embeds = clips.states[-1][0, queries, None].expand(-1, LENGTH, -1)
        steps = torch.arange(LENGTH).expand(len(queries), -1)
        refined = torch.cat([
            tar_head.refine(embeds[:, rows], steps[:, rows])
            for rows in (slice(0, 2), slice(2, 4), slice(4, 5))
        ], 1)
    assert [result.frame_id for result in results] == list(range(LENGTH))
    for t, result in enumerate(results):
        assert result.ids == queries.tolist() and result.detected.all()
        assert_close(result.cls_scores, head.class_scores(refined[:, t]))


def test_missed_frames_are_recovered(model, video, monkeypatch):
    """A frame without a mask is a zero embedding and gets a mask."""
    model.eval()
    head = model.track_head
    monkeypatch.setattr(
        head,
        'segment',
        lambda embeds, mask_features, boxes=None: torch.ones(
            1, embeds.shape[1], *mask_features.shape[-2:]))
    torch.manual_seed(0)
    with torch.no_grad():
        clips = head.forward_clips(model.backbone(video[0][0]))
        clips.mask_features[0, 2] = 0  # nothing above 0 there
        scores = head.class_scores(clips.states[-1])[0]
        model.window, model.exclusive_recovery = LENGTH, False
        results = model.refine(clips, scores, torch.arange(12),
                               [frame.metainfo for frame in video[1][0]])
        model.exclusive_recovery = True
    assert len(results[2].ids) > 0
    assert not results[2].detected.any() and results[0].detected.any()
    # LN(LN(0)) is 0 at initialisation
    expected = head.class_scores(torch.zeros(32))
    assert_close(results[2].cls_scores[0], expected)


def test_a_video_without_masks(video):
    model = build(window=2).eval()
    mask_embed = model.track_head.mask_embed[-1]
    torch.nn.init.zeros_(mask_embed.weight)
    torch.nn.init.zeros_(mask_embed.bias)  # no logit is above 0
    out = predict(model, video)
    assert out.metainfo['pred_tracklets'] == []
    for frame in out:
        assert frame.pred_track_instances.masks.shape == (0, 124, 180)
        assert frame.pred_track_instances.bboxes.shape == (0, 4)


def test_results_for_the_metric(model, video):
    out = predict(model, video, 2)
    assert isinstance(out, TrackDataSample)
    assert out.metainfo['video_id'] == 3
    assert out.metainfo['video_length'] == LENGTH
    tracklets = out.metainfo['pred_tracklets']
    pairs = out[0].pred_track_instances
    assert 0 < len(tracklets) == len(pairs) <= 10
    assert_close(
        torch.tensor(sorted(item['score'] for item in tracklets)),
        pairs.scores.sort().values)
    for item in tracklets:
        assert len(item['segmentations']) == LENGTH
        assert item['segmentations'][0] is None or \
            item['segmentations'][0]['size'] == [124, 180]


@pytest.mark.parametrize('clip', [two_object_clip, empty_clip])
def test_losses_of_the_parent_are_unchanged(model, clip):
    inputs = torch.randn(2, 2, 3, 64, 96)
    samples = [clip(), empty_clip(first_frame=3)]
    parent = build_parent(model).train()
    torch.manual_seed(1)
    losses = model.train().loss(inputs, samples)
    torch.manual_seed(1)
    expected = parent.loss(inputs, [clip(), empty_clip(first_frame=3)])
    assert set(losses) - set(expected) == {
        f'loss_refine_{name}'
        for name in ('cls', 'mask', 'dice')
    }
    for key, value in expected.items():
        assert torch.equal(losses[key], value), key
    # the head still is a head of mmdet
    torch.manual_seed(1)
    found = Mask2FormerVideo.loss(model, inputs,
                                  [clip(), empty_clip(first_frame=3)])
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    # inputs are left as they were
    assert samples[0][0].gt_instances.masks.masks.shape[1:] == (64, 96)


@pytest.mark.parametrize('clip', [two_object_clip, empty_clip])
@pytest.mark.parametrize('num_background', [0, 20])
def test_every_parameter_gets_a_gradient(clip, num_background):
    model = build(num_background=num_background).train()
    losses = model.loss(
        torch.randn(1, 2, 3, 64, 96), [clip(first_frame=40, video_length=60)])
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    grads = {
        name: param.grad
        for name, param in model.named_parameters() if param.requires_grad
    }
    assert [name for name, grad in grads.items() if grad is None] == []
    assert all(torch.isfinite(grad).all() for grad in grads.values())


def test_tracklets_follow_instance_ids(model):
    """Targets of matched queries over the frames, then background."""
    model.train()
    head = model.track_head
    sample = two_object_clip(first_frame=40, video_length=60)
    with torch.no_grad():
        clips = head.forward_clips(model.backbone(torch.randn(2, 3, 64, 96)))
        cls_logits, mask_logits = head.predict_sets(clips)
        targets, metas = head.gather_targets([sample])
        mask_logits = mask_logits[-1]
        matched, instances = head.match(cls_logits[-1][0], mask_logits[0],
                                        targets[0])
        mask_logits[0, :, 1] = -1.  # no query has a mask in the second frame
        mask_logits[0, :, 0, 3, 4] = 1.  # each has one in the first
        frame_inds = torch.tensor([metas[0]['frame_id']])
        torch.manual_seed(0)
        tracklets = model.build_tracklets(clips, cls_logits[-1], mask_logits,
                                          targets, frame_inds)
    assert len(matched) == len(instances) == 2
    assert tracklets.embeds.shape == (12, 2, 32)  # ten are background
    assert sorted(tracklets.labels.tolist()) == [2, 5] + [40] * 10
    assert tracklets.labels[2:].eq(40).all()
    assert tracklets.frame_inds.tolist() == [[40, 41]] * 12
    assert tracklets.mask_inds.tolist() == [0, 1]
    assert tracklets.detected[:, 0].all()
    assert not tracklets.detected[:, 1].any()
    first = tracklets.labels.tolist().index(2)  # instance 7, in both frames
    other = 1 - first  # instance 4, in the second frame
    assert tracklets.present[first].tolist() == [True, True]
    assert tracklets.present[other].tolist() == [False, True]
    assert not tracklets.present[2:].any()
    areas = tracklets.masks.flatten(2).sum(2)
    assert areas[first].tolist() == [32 * 32, 32 * 32]
    assert areas[other].tolist() == [0, 30 * 30]


def test_frame_embeddings_by_hand(model):
    head = build().track_head
    torch.nn.init.constant_(head.frame_proj.weight, 0.5)
    states = torch.full((1, 32), 2.)
    masks = torch.full((1, 2, 2, 2), -1.)
    masks[0, 0, 0] = 1.  # two of four cells in the first frame
    feats = torch.zeros(2, 32, 2, 2)
    feats[0, 0] = torch.tensor([[3., 5.], [100., 100.]])  # mean 4 inside
    with torch.no_grad():
        embeds, detected = head.frame_embeds(states, masks, feats)
        start, _ = build().track_head.frame_embeds(states, masks, feats)
    assert detected.tolist() == [[True, False]]
    assert_close(embeds[0, 0], torch.full((32, ), 2 + 0.5 * 4))
    assert_close(embeds[0, 1], torch.zeros(32))
    assert_close(start[0, 0], states[0])  # the projection starts at zero


def test_pairs_of_a_frame():
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:5] = True
    detected = torch.ones(2, dtype=torch.bool)
    result = DecodedFrame(0, [3, 9], torch.rand(2, 5), detected, detected,
                          masks)
    out = report_pairs(result, torch.tensor([9, 3, 4, 3]),
                       torch.tensor([0, 1, 2, 3]), torch.rand(4))
    assert isinstance(out, InstanceData)
    assert out.masks.flatten(1).sum(1).tolist() == [0, 6, 0, 6]
    assert out.bboxes[1].tolist() == [2, 1, 5, 3]
    assert out.instances_id.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize('options, message', [
    (dict(window=-1), 'window must be a non-negative int, got -1'),
    (dict(track_head=dict(type='Mask2FormerTrackHead')),
     'track_head.type must be .* got Mask2FormerTrackHead'),
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_batch_is_one_video(model, video):
    with pytest.raises(ValueError, match='one video, got 2'):
        model.predict(video[0], video[1] * 2)


def test_without_tar_it_is_the_parent(model):
    """The same losses, and all parameters but an unused layer learn."""
    alone = build(window=0, tar_head=None)
    alone.load_state_dict(model.state_dict(), strict=False)
    parent = build_parent(model)
    frames = torch.randn(1, 2, 3, 64, 96)
    losses = []
    for one in (alone, parent):
        torch.manual_seed(0)
        losses.append(one.loss(frames, [two_object_clip(labels=[2, 0])]))
    assert losses[0].keys() == losses[1].keys()
    for name, loss in losses[0].items():
        assert_close(loss, losses[1][name], msg=name)
    with pytest.raises(ValueError, match='window must be 0 without tar_head'):
        build(window=4, tar_head=None)
