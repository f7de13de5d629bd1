# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy

import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close

from refinevis_mm.models.association import ContrastiveTracker, IoUPairSelector
from refinevis_mm.models.layers.mask_resize import resize_masks
from refinevis_mm.models.refinement import MatchedTrackletBuilder
from refinevis_mm.models.refinement.decoding import cut_recovered_masks
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameOutput, FrameTracks, VideoResult
from tests.demo_clips import (add_ignored, demo_clip, empty_clip,
                              tiny_model_cfg, two_object_clip)
from tests.model_stream import ModelStream
from tests.tiny_mask2former import TINY_BACKBONE, TINY_HEAD
from tests.training_checks import assert_trains

BOXES = [(8, 8, 40, 40), (60, 20, 90, 50)]


def _build(**options):
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_cfg(**options))
    model.init_weights()
    return model


@pytest.fixture(scope='module')
def model():
    return _build()


def _video(num_frames):
    return demo_clip([BOXES] * num_frames, [1, 2], [0, 1])


def _predict(model, images, num_frames=None):
    """Feed a video frame by frame, as the test loop does."""
    out = None
    video = _video(num_frames or len(images))
    for t, image in enumerate(images):
        sample = video.clone()
        sample.video_data_samples = [video[t]]
        with torch.no_grad():
            out = model.eval().predict(image[None, None], [sample])[0]
    return out


def _permissive(model):
    """Thresholds that random weights pass."""
    model.tracker.select_score_thr = 0.0
    model.tracker.init_score_thr = model.tracker.new_score_thr = 0.0
    model.cls_thr = 0.0
    return model


def test_loss_names_and_gradients(model):
    model.train()
    model.zero_grad(set_to_none=True)
    losses = model.loss(
        torch.randn(2, 2, 3, 64, 96),
        [two_object_clip(), empty_clip()])
    for name in ('loss_assoc', 'loss_assoc_aux', 'loss_refine_cls',
                 'loss_refine_mask', 'loss_refine_dice', 'loss_cls',
                 'enc_loss_mask', 'dn_loss_dice'):
        assert torch.isfinite(losses[name]), name
    assert_trains(model, losses)


def test_batch_without_objects_trains(model):
    model.train()
    model.zero_grad(set_to_none=True)
    losses = model.loss(
        torch.randn(2, 2, 3, 64, 96),
        [empty_clip(), empty_clip()])
    assert_trains(model, losses)


def test_ignored_regions_have_no_background():
    """Neither at the frame level nor in the tracklets of TAR."""
    model = _build(**{'model.frame_loss_on': 'all'}).train()
    images, results = torch.randn(2, 2, 3, 64, 96), []
    for ignored in (False, True):
        clips = [two_object_clip(), empty_clip()]
        if ignored:
            for clip in clips:
                for frame in clip:
                    add_ignored(frame, (0, 0, 96, 64))
        torch.manual_seed(0)
        results.append(model.loss(images, clips))
    known, losses = results
    for name in ('loss_cls', 'd0.loss_cls', 'enc_loss_cls', 'loss_refine_cls'):
        assert 0 <= losses[name] < known[name], name
    for name in ('loss_bbox', 'loss_mask', 'dn_loss_cls', 'loss_assoc',
                 'loss_refine_dice'):
        assert_close(losses[name], known[name], msg=name)
    assert_trains(model, losses)


def test_more_than_two_frames():
    losses = _build().loss(
        torch.randn(1, 3, 3, 64, 96), [demo_clip([BOXES] * 3, [1, 2], [0, 1])])
    assert torch.isfinite(sum(losses.values()))


def test_frame_losses_see_the_first_frame_only():
    """Paper Sec. 4.1; association and TAR reach every frame's image."""
    model = _build(**{'model.frame_loss_on': 'first'}).train()
    model.tracklet_builder = MatchedTrackletBuilder(0.0, 0.0, 2)
    for layer in model.frame_model.head.fc_reg.layers:
        torch.nn.init.normal_(layer.weight, std=0.2)  # zero at the start
    images = torch.randn(1, 2, 3, 64, 96, requires_grad=True)
    losses = model.loss(images, [_video(2)])

    def gradient(kind, later=False):
        """Of the losses with this ending, for each frame."""
        names = [
            name for name in losses if name.endswith(kind) and (
                'assoc' in name or 'refine' in name) == later
        ]
        assert names
        grad, = torch.autograd.grad(
            sum(losses[name] for name in names), images, retain_graph=True)
        return grad[0].abs().sum((1, 2, 3))

    for kind in ('cls', 'bbox', 'iou', 'mask', 'dice'):
        first, second = gradient(kind)
        assert first > 0 and second == 0, kind
    for kind in ('loss_assoc', 'loss_refine_cls', 'loss_refine_mask'):
        assert (gradient(kind, later=True) > 0).all(), kind


def test_order_and_ids_of_the_ground_truth_do_not_matter(model):
    model.train()
    images = torch.randn(1, 2, 3, 64, 96)

    def losses_of(boxes, ids, labels):
        torch.manual_seed(3)
        return model.loss(images, [demo_clip([boxes] * 2, ids, labels)])

    expected = losses_of(BOXES, [5, 9], [0, 1])
    assert_close(losses_of(BOXES[::-1], [9, 5], [1, 0]), expected)
    assert_close(losses_of(BOXES, [1, 70], [0, 1]), expected)


def test_ids_may_exchange_their_order():
    """Without denoising, which would draw other noise for each object."""
    model = _build(
        **{
            'model.frame_model.dn_query_generator': None,
            'model.association_cdn': None
        })
    images, results = torch.randn(1, 2, 3, 64, 96), []
    for ids in ([5, 9], [9, 5]):
        torch.manual_seed(3)
        results.append(
            model.loss(images, [demo_clip([BOXES] * 2, ids, [0, 1])]))
    # points of masks are drawn at random, too
    for name in ('loss_cls', 'loss_bbox', 'loss_iou', 'loss_assoc'):
        assert_close(results[0][name], results[1][name], msg=name)


def test_one_object_has_no_association_loss_but_finite_gradients():
    model = _build()
    # no query is a negative of the only object
    model.pair_selector = IoUPairSelector(pos_iou_thr=0.7, neg_iou_thr=0.0)
    losses = model.loss(
        torch.randn(1, 2, 3, 64, 96),
        [demo_clip([[BOXES[0]], [BOXES[0]]], [1], [0])])
    assert losses['loss_assoc'] == 0
    assert_trains(model.association_head,
                  dict(loss_assoc=losses['loss_assoc']))


@pytest.mark.parametrize('mode', ['online', 'offline'])
@pytest.mark.parametrize('window', [0, 1, 3])
@pytest.mark.parametrize('num_frames', [1, 5])
def test_predict_gives_one_tracklet_list_per_video(mode, window, num_frames):
    model = _permissive(_build(**{'model.mode': mode, 'model.window': window}))
    out = _predict(model, torch.randn(num_frames, 3, 64, 96))
    assert out.metainfo['video_id'] == 3
    tracklets = out.metainfo['pred_tracklets']
    assert len(tracklets) > 0
    for tracklet in tracklets:
        assert len(tracklet['segmentations']) == num_frames
        assert 0 <= tracklet['label'] < 7
        assert 0 < tracklet['score'] < 1
        for rle in tracklet['segmentations']:
            assert rle is None or rle['size'] == [64, 96]


def test_a_batch_gives_what_its_frames_give():
    """One after the other or in batches of three and two."""
    model = _permissive(_build(**{'model.mode': 'offline', 'model.window': 3}))
    images, video = torch.randn(5, 1, 3, 64, 96), _video(5)
    samples = [video.clone() for _ in images]
    for frame, sample in zip(video, samples):
        sample.video_data_samples = [frame]
    found = []
    with torch.no_grad():
        for size in (1, 3):
            for start in range(0, 5, size):
                part = slice(start, start + size)
                out = model.eval().predict(images[part], samples[part])[-1]
            found.append(out.pred_tracklets)
    assert len(found[0]) == len(found[1]) > 0
    for single, batched in zip(*found):
        assert single['instances_id'] == batched['instances_id']
        assert single['label'] == batched['label']
        assert single['score'] == pytest.approx(batched['score'], abs=1e-5)
        assert single['segmentations'] == batched['segmentations']


@torch.no_grad()
def _stream(model, images, metas):
    return ModelStream(model.eval()).run(images, metas)


def _metas(num_frames, ori_shape=(64, 96)):
    return [
        dict(frame_id=t, img_shape=(64, 96), ori_shape=ori_shape)
        for t in range(num_frames)
    ]


def test_untrained_refinement_equals_frame_level():
    """TAR starts as the identity for the heads: W = 3 equals W = 0."""
    images = torch.randn(4, 3, 64, 96)
    results = []
    for mode, window in (('online', 0), ('online', 3), ('offline', 3)):
        model = _permissive(
            _build(**{
                'model.mode': mode,
                'model.window': window
            }))
        results.append(_stream(model, images, _metas(4)))
    for refined in results[1:]:
        for frame, other in zip(results[0], refined):
            rows = [other.ids.index(i) for i in frame.ids]
            assert other.detected[rows].all()
            assert_close(
                other.cls_scores[rows], frame.cls_scores, atol=1e-4, rtol=1e-3)


def test_untrained_refinement_keeps_classes_and_masks(model):
    """The heads say the same of a refined tracklet, wherever it lies."""
    frame_model = model.eval().frame_model
    with torch.no_grad():
        out = frame_model.forward_frames(torch.randn(3, 3, 64, 96))
        refined = model.tar_head.refine(
            out.embeds.transpose(0, 1), torch.tensor([[4, 5, 9]] * 12))
        refined = refined.transpose(0, 1)
        assert_close(
            frame_model.classify(refined),
            out.cls_logits,
            atol=1e-4,
            rtol=1e-4)
        masks = [
            frame_model.segment(embeds, out.mask_features)
            for embeds in (refined, out.embeds)
        ]
        assert_close(*masks, atol=1e-3, rtol=1e-3)


def test_window_of_zero_gives_what_the_frame_model_found():
    model = _permissive(_build(**{'model.window': 0}))
    model.tracker.box_nms_thr = model.tracker.mask_nms_thr = 1.0
    image, meta = torch.randn(3, 64, 96), _metas(1, ori_shape=(50, 70))[0]
    result, = _stream(model, [image], [meta])
    with torch.no_grad():
        frame = model.frame_model.forward_frames(image[None])
        scores = frame.cls_logits[0].sigmoid()
        rows = torch.cdist(result.cls_scores, scores).argmin(1).tolist()
        masks = model.frame_model.segment(frame.embeds[:, rows],
                                          frame.mask_features)[0]
    assert len(set(rows)) == len(rows) > 1
    assert_close(result.cls_scores, scores[rows])
    assert torch.equal(result.masks, resize_masks(masks, meta) > 0)


def test_online_frame_does_not_depend_on_later_frames():
    model = _permissive(_build(**{'model.window': 3}))
    for param in model.tar_head.parameters():
        torch.nn.init.normal_(param, std=0.3)
    images = torch.randn(5, 3, 64, 96)
    other = images.clone()
    other[3:] = torch.randn(2, 3, 64, 96)
    first = _stream(model, images, _metas(5))
    second = _stream(model, other, _metas(5))
    for t in range(3):
        assert first[t].ids == second[t].ids
        assert torch.equal(first[t].cls_scores, second[t].cls_scores)
        assert torch.equal(first[t].masks, second[t].masks)


def test_streams_do_not_share_state():
    model = _permissive(_build())
    images = torch.randn(3, 3, 64, 96)
    alone = _stream(model, images, _metas(3))
    streams = [ModelStream(model), ModelStream(model)]
    with torch.no_grad():
        for image, meta in zip(images, _metas(3)):
            result, = streams[0].step(image, meta)
            streams[1].step(image.flip(-1), meta)
            assert result.ids == alone[meta['frame_id']].ids


def test_masks_return_at_the_original_size():
    model = _permissive(_build())
    for result in _stream(model, torch.randn(2, 3, 64, 96),
                          _metas(2, ori_shape=(33, 51))):
        assert result.masks.shape == (len(result.ids), 33, 51)
        assert result.masks.dtype == torch.bool


def test_recovered_masks_are_cut_by_hand():
    logits = torch.full((4, 4, 4), -1.0)
    logits[0, :2] = 3.0  # detected: the upper half
    logits[1, 1:3] = 2.0  # recovered, has met the detected one
    logits[1, 1, 3] = 4.0  # and is surer of one pixel
    logits[2, 1:3] = 2.0  # recovered, may be the detected one
    logits[3, :1] = 1.0  # detected as well: stays as it is
    detected = torch.tensor([True, False, False, True])
    met = torch.eye(4, dtype=torch.bool)
    met[0, 1] = met[1, 0] = True
    masks = cut_recovered_masks(logits, detected, met)
    assert masks[[0, 2, 3]].equal(logits[[0, 2, 3]] > 0)
    assert masks[1].sum(1).tolist() == [0, 1, 4, 0]


def test_recovered_duplicates_have_no_pixels():
    """Two equal embeddings in one frame, one of them a missed object's."""
    model = _build().eval()
    embed, feats = torch.randn(1, 32), torch.randn(32, 16, 24)
    tracks = FrameTracks(0,
                         _metas(1)[0], [4, 9], embed.repeat(2, 1),
                         torch.rand(2, 4), torch.tensor([True, False]), feats)
    tracks.met = torch.ones(2, 2, dtype=torch.bool)
    with torch.no_grad():
        assert not model.decode(tracks).masks[1].any()
        model.exclusive_recovery = False
        assert model.decode(tracks).masks[1].any()
        # never seen together: the object may have a new id
        model.exclusive_recovery = True
        tracks.met = torch.eye(2, dtype=torch.bool)
        result = model.decode(tracks)
    assert result.masks[1].any() and result.ids == [4, 9]
    assert result.scored.tolist() == [True, False]
    model.score_missed = True
    with torch.no_grad():
        assert model.decode(tracks).scored.all()


def test_predicting_leaves_the_inputs_alone(model):
    video = _video(1)
    before = copy.deepcopy(video.metainfo)
    with torch.no_grad():
        model.eval().predict(torch.randn(1, 1, 3, 64, 96), [video])
    assert video.metainfo == before


def test_video_must_start_at_frame_0():
    model = _build().eval()
    sample = demo_clip([BOXES], [1, 2], [0, 1], first_frame=2)
    with pytest.raises(ValueError, match='start with frame_id 0, got 2'):
        model.predict(torch.randn(1, 1, 3, 64, 96), [sample])


@pytest.mark.parametrize('options, message', [
    ({'model.mode': 'both'}, "mode must be one of"),
    ({'model.window': -1}, 'window must be a non-negative int, got -1'),
    ({'model.frame_loss_on': 'none'}, 'frame_loss_on must be one of'),
    ({'model.mask_resize': 'cubic'}, 'mask_resize must be one of'),
])  # yapf: disable
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)


def test_tracker_refuses_a_state_of_other_dimensions():
    model = _build()
    other = ContrastiveTracker(embed_dims=16).state_dict()
    with pytest.raises(ValueError, match='16'):
        model.tracker.load_state_dict(other)


def test_idol_is_refinevis_without_refinement():
    model = _build(**{'model.window': 0, 'model.tar_head': None})
    losses = model.loss(torch.randn(1, 2, 3, 64, 96), [two_object_clip()])
    assert not any(name.startswith('loss_refine') for name in losses)
    with torch.no_grad():
        out = _predict(_permissive(model).eval(), torch.randn(2, 3, 64, 96))
    assert out.metainfo['video_length'] == 2


@pytest.mark.parametrize('options, message', [
    ({'model.tar_head': None}, 'window must be 0 without tar_head, got 10'),
    ({'model.tracklet_builder': None}, 'tracklet_builder must be given'),
])  # yapf: disable
def test_missing_parts_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)


def _build_as_the_paper(**options):
    """OTA matching and association CDN."""
    cfg = tiny_model_cfg(**options)
    cfg.frame_model.head.assigner = dict(type='refinevis_mm.OTAAssigner')
    cfg.pair_selector = dict(type='refinevis_mm.OTAPairSelector')
    cfg.association_cdn = dict(type='refinevis_mm.AssociationCDN')
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


@pytest.mark.parametrize('clips',
                         [[two_object_clip(), empty_clip()], [empty_clip()]])
def test_training_as_in_the_paper(clips):
    model = _build_as_the_paper()
    losses = model.loss(torch.randn(len(clips), 2, 3, 64, 96), clips)
    assert 'loss_assoc_cdn' in losses
    assert_trains(model, losses)


def test_association_cdn_needs_denoising_queries():
    model = _build_as_the_paper(
        **{'model.frame_model.dn_query_generator': None})
    with pytest.raises(ValueError, match='needs a frame model with denoising'):
        model.loss(torch.randn(1, 2, 3, 64, 96), [two_object_clip()])


# ---- without an association head ----

# Untrained models: every query is a detection, and all of them are followed.
STREAMING = dict(
    _delete_=True,
    type='refinevis_mm.StreamingTracker',
    select_score_thr=0.0,
    mask_nms_thr=1.0,
    high_score_thr=0.0,
    new_score_thr=0.0,
    min_track_frames=1)


def _maskdino(**options):
    options = {
        'model.association_head': None,
        'model.tracker': STREAMING,
        'model.cls_thr': 0.0,
        **options
    }
    return _build(**options)


def _mask2former(**options):
    """The shipped config of the zoo, made tiny."""
    cfg = Config.fromfile('configs/mask2former/mask2former-r50_coco.py')
    cfg.merge_from_dict(
        dict(
            model=dict(
                frame_model=dict(backbone=TINY_BACKBONE, head=TINY_HEAD),
                tracker=STREAMING,
                cls_thr=0.0)))
    cfg.merge_from_dict(options)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


NO_REFINEMENT = {'model.window': 0, 'model.tar_head': None}


@pytest.mark.parametrize('build, options', [(_maskdino, NO_REFINEMENT),
                                            (_mask2former, {})])
def test_streams_without_association_head(build, options):
    """They give what the test loop gathers, and objects keep their ids."""
    model = build(**options)
    assert model.association_head is model.tar_head is None
    assert not any('assoc' in name for name in model.state_dict())
    images = torch.randn(1, 3, 64, 96) + 0.01 * torch.randn(4, 3, 64, 96)
    video = VideoResult(4)
    results = _stream(model, images, _metas(4))
    for result in results:
        video.add_frame(result.frame_id, result.ids, result.cls_scores,
                        result.scored, result.masks)
    out = _predict(model, images)
    assert out.metainfo['pred_tracklets'] == video.tracklets(cls_thr=0.0)
    first = set(results[0].ids)
    assert len(first) > 3
    for result in results[1:]:  # nearly the same picture
        assert len(first & set(result.ids)) > 0.7 * len(first)


@pytest.mark.parametrize('clip',
                         [two_object_clip(labels=[2, 0]),
                          empty_clip()])
@pytest.mark.parametrize('build, options', [(_maskdino, NO_REFINEMENT),
                                            (_mask2former, {})])
def test_frame_losses_without_association_head(build, options, clip):
    """The losses of the frame model, and nothing else."""
    model = build(**options)
    images = torch.randn(1, 2, 3, 64, 96)
    losses = model.loss(images, [clip])
    assert_trains(model, losses)
    assert not any('assoc' in name or 'refine' in name for name in losses)


def test_refinement_trains_without_association_head():
    model = _maskdino()
    losses = model.loss(
        torch.randn(1, 2, 3, 64, 96), [two_object_clip(labels=[2, 0])])
    assert any('refine' in name for name in losses)
    assert not any('assoc' in name for name in losses)


@pytest.mark.parametrize('build', [_maskdino, _mask2former])
def test_tracker_gets_what_the_heads_see(build, monkeypatch):
    """The embeddings after the LayerNorm that the heads begin with."""
    model, seen = build().eval(), []
    frame_model = model.frame_model
    norm = frame_model.decoder.norm if build is _maskdino else \
        frame_model.head.transformer_decoder.post_norm
    torch.nn.init.normal_(norm.weight)
    stream = ModelStream(model)

    def track(detections, frame_id):
        seen.append(detections)
        return type(model.tracker).track(stream.tracker, detections, frame_id)

    monkeypatch.setattr(stream.tracker, 'track', track)
    image, meta = torch.randn(3, 64, 96), _metas(1)[0]
    with torch.no_grad():
        stream.step(image, meta)
        embeds = frame_model.forward_frames(image[None]).embeds
        expected = norm(embeds)
    dets, = seen
    assert len(dets) > 3
    assert_close(dets.assoc_embeds, expected[0, dets.query_inds])
    assert (expected - embeds).abs().max() > 0.1


def test_pair_selector_is_needed_with_an_association_head():
    with pytest.raises(ValueError, match='pair_selector must be given with'):
        _build(**{'model.pair_selector': None})
    assert _maskdino(**{'model.pair_selector': None}).pair_selector is None


@pytest.mark.parametrize('head', [True, False])
@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_refinement_with_the_streaming_tracker(mode, head):
    """With and without association head; TAR starts as the identity."""
    options = {'model.mode': mode, 'model.window': 3}
    if head:
        options['model.association_head'] = \
            tiny_model_cfg().association_head
    model = _maskdino(**options)
    assert (model.association_head is not None) == head
    assert model.tracker.embed_dims == (32 if head else None)
    images = torch.randn(5, 3, 64, 96)
    refined = _stream(model, images, _metas(5))
    model.window = 0
    plain = _stream(model, images, _metas(5))
    assert [result.frame_id for result in refined] == list(range(5))
    assert sum(len(result.ids) for result in plain) > 10
    for result, other in zip(plain, refined):
        rows = [other.ids.index(i) for i in result.ids]
        assert other.detected[rows].all()
        assert other.detected.sum() == len(rows)
        assert_close(
            other.cls_scores[rows], result.cls_scores, atol=1e-4, rtol=1e-3)


def test_streaming_trackers_of_two_videos():
    model = _maskdino()
    images = torch.randn(3, 3, 64, 96)
    alone = _stream(model, images, _metas(3))
    streams = [ModelStream(model), ModelStream(model)]
    with torch.no_grad():
        for image, meta, expected in zip(images, _metas(3), alone):
            result, = streams[0].step(image, meta)
            streams[1].step(image.flip(-1), meta)
            assert result.ids == expected.ids
            assert torch.equal(result.masks, expected.masks)
    assert model.tracker.live_ids == []


def test_the_head_may_read_behind_the_norm():
    """As in CTVIS: what is compared is head(norm(state))."""
    model = _build(**{'model.normed_association': True}).eval()
    torch.nn.init.normal_(model.frame_model.decoder.norm.weight)
    embeds = torch.randn(1, 5, 32)
    expected = model.association_head(model.frame_model.match_embeds(embeds))
    frames = FrameOutput(embeds, embeds, embeds, embeds)
    model.embed(frames)
    assert_close(frames.assoc_embeds, expected)
    model.normed_association = False
    model.embed(frames)
    assert_close(frames.assoc_embeds, model.association_head(embeds))
    assert (frames.assoc_embeds - expected).abs().max() > 1e-3


def test_logits_are_averaged_of_a_softmax_only():
    with pytest.raises(ValueError, match='compete in a softmax, got MaskDINO'):
        _build(**{'model.score_average': 'logits'})
    assert _mask2former(**{
        'model.score_average': 'logits'
    }).score_average == 'logits'
