# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from pycocotools import mask as mask_utils
from torch.testing import assert_close

from refinevis_mm.models import BaseVISModel
from refinevis_mm.models.vita.video_frames import VideoFrames
from refinevis_mm.models.vita.vita import VITA, clip_instances
from refinevis_mm.registry import MODELS
from tests.demo_clips import (clip_targets, demo_clip, empty_clip,
                              two_object_clip)
from tests.tiny_vita import tiny_vita
from tests.training_checks import assert_trains

FRAMES = 7


@pytest.fixture(scope='module')
def model():
    return tiny_vita(frames_at_once=3).eval()


@pytest.fixture(scope='module')
def images():
    torch.manual_seed(1)
    return torch.randn(1, FRAMES, 3, 64, 96)


def video(length=FRAMES, first=0, count=None, ori=(32, 48)):
    """A part of a video."""
    sample = demo_clip(
        [[]] * (count or length), [], [],
        first_frame=first,
        video_length=length)
    for frame in sample:
        frame.set_metainfo(dict(ori_shape=ori))
    return sample


def predict(model, images, length=None):
    """Tracklets of a whole video."""
    with torch.no_grad():
        out, = model.predict(images, [video(length or images.shape[1])])
    return out.metainfo['pred_tracklets']


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert (a['instances_id'], a['label']) == (b['instances_id'],
                                                   b['label'])
        assert a['score'] == pytest.approx(b['score'], abs=1e-5)
        for one, other in zip(a['segmentations'], b['segmentations']):
            assert (one is None) == (other is None)
            if one is not None:
                diff = mask_utils.decode(one) != mask_utils.decode(other)
                assert diff.sum() <= 2


def test_it_does_not_stream(model):
    assert not isinstance(model, BaseVISModel)
    assert isinstance(model, VITA)


def test_result_of_a_video(model, images):
    tracklets = predict(model, images)
    assert len(tracklets) == 10
    assert all(len(row['segmentations']) == FRAMES for row in tracklets)
    rles = [rle for row in tracklets for rle in row['segmentations'] if rle]
    assert rles and all(rle['size'] == [32, 48] for rle in rles)
    assert all(0 <= row['score'] <= 1 for row in tracklets)
    pairs = {(row['instances_id'], row['label']) for row in tracklets}
    assert len(pairs) == 10
    assert all(0 <= query < 8 and 0 <= label < 40 for query, label in pairs)
    assert model._video is None  # nothing of it is kept


def test_score_is_class_times_quality(model, images):
    """The mean probability of the pixels of a mask, over all frames."""
    with torch.no_grad():
        frames = model.forward_frames(images[0])
        state = model.clip_head(model.frame_queries(frames, 1)).states[-1][0]
        probs = model.clip_head.classify(state).softmax(-1)
        masks = torch.einsum('qc,tchw->qthw',
                             model.clip_head.mask_kernels(state),
                             model.clip_head.mask_feature(frames.pixels))
        masks = torch.nn.functional.interpolate(
            masks, (64, 96), mode='bilinear').sigmoid()
    for row in predict(model, images):
        values = masks[row['instances_id']]
        quality = values[values > 0.5].mean() if (values > 0.5).any() else 0
        expected = probs[row['instances_id'], row['label']] * quality
        assert row['score'] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize('at_once', [1, 6, 7, 8])
def test_a_chunk_more_or_less_changes_nothing(model, images, at_once,
                                              monkeypatch):
    """Also a video that is longer than a chunk by one frame (6)."""
    expected = predict(model, images)
    monkeypatch.setattr(model, 'frames_at_once', at_once)
    assert_same(predict(model, images), expected)


@pytest.mark.parametrize('parts', [[1] * 7, [6, 1], [2, 5]])
def test_frames_may_come_one_by_one(model, images, parts):
    expected = predict(model, images)
    first = 0
    with torch.no_grad():
        for count in parts:
            assert first == 0 or len(model._video) == first
            out, = model.predict(images[:, first:first + count],
                                 [video(FRAMES, first, count)])
            first += count
            assert ('pred_tracklets' in out.metainfo) == (first == FRAMES)
    assert out.metainfo['video_length'] == FRAMES
    assert_same(out.metainfo['pred_tracklets'], expected)


def test_frames_of_one_video_do_not_reach_the_next(model, images):
    expected = predict(model, images[:, :2])
    with torch.no_grad():
        model.predict(images[:, :1], [video(FRAMES, 0, 1)])  # left unfinished
    assert_same(predict(model, images[:, :2]), expected)


def test_videos_shorter_than_the_window(model, images):
    for length in (1, 2, 5):
        rows = predict(model, images[:, :length])
        assert len(rows) == 10
        assert all(len(row['segmentations']) == length for row in rows)


def test_fewer_pairs_than_asked_for(images):
    model = tiny_vita(max_per_video=1000).eval()
    assert len(predict(model, images[:, :1])) == 8 * 40


def test_frames_out_of_order(model, images):
    with torch.no_grad():
        model.predict(images[:, :1], [video(FRAMES, 0, 1)])
        with pytest.raises(
                ValueError,
                match='the next frame must be frame 1 '
                'of the video, got frame_id 2'):
            model.predict(images[:, :1], [video(FRAMES, 2, 1)])
        model._video = None
        with pytest.raises(
                ValueError, match='must start with frame_id 0, got '
                '3'):
            model.predict(images[:, :1], [video(FRAMES, 3, 1)])
        with pytest.raises(ValueError, match='hold one video, got 2'):
            model.predict(images.repeat(2, 1, 1, 1, 1), [video(), video()])


@pytest.mark.parametrize('sizes', [
    dict(ori_shape=(33, 48)),
    dict(img_shape=(60, 96)),
])
def test_frames_of_unequal_size(model, images, sizes):
    sample = video()
    sample[4].set_metainfo(sizes)
    with torch.no_grad(), pytest.raises(
            ValueError,
            match=r'frames of a video must have one size .* got '
            r'.* in frame 4$'):
        model.predict(images, [sample])


def test_long_videos_wait_on_the_cpu():
    """The mask features of a frame take 15 MB at 360 x 640."""
    meta = dict(img_shape=(8, 8), ori_shape=(8, 8))
    for length, kept in ((36, 'meta'), (37, 'cpu')):
        frames = VideoFrames(length)
        features = torch.zeros(1, 4, 2, 2)
        moved = []
        features.cpu = lambda: moved.append(1) or torch.zeros(1, 4, 2, 2)
        frames.add(torch.zeros(1, 3, 4), features, [dict(meta, frame_id=0)])
        assert bool(moved) == (kept == 'cpu')
        assert len(frames) == 1 and frames.queries.shape == (1, 3, 4)


# --- training ---


def many_objects(count):
    boxes = [(6 * i, 4, 6 * i + 5, 40) for i in range(count)]
    return demo_clip([boxes, boxes], list(range(count)), [0] * count)


@pytest.mark.parametrize(
    'clips',
    [
        [two_object_clip(), empty_clip()],
        [empty_clip()],
        # of 12 frame and 8 clip queries
        [many_objects(15)],
    ])
def test_every_parameter_gets_a_gradient(clips):
    model = tiny_vita().train()
    losses = model.loss(torch.randn(len(clips), 2, 3, 64, 96), clips)
    assert {'loss_cls', 'd0.loss_mask', 'd1.loss_dice', 'clip.loss_cls',
            'clip.d0.loss_mask', 'clip.loss_dice', 'clip.loss_sim'} <= \
        set(losses)
    assert len(losses) == 3 * 3 + 2 * 3 + 1
    assert_trains(model, losses)
    if clips[0][0].gt_instances.labels.numel() == 0:
        zero = [
            name for name, loss in losses.items()
            if not name.endswith('loss_cls')
        ]
        assert all(float(losses[name].detach()) == 0 for name in zero)


def test_an_absent_object_is_an_empty_mask_of_the_clip():
    targets, = clip_targets(two_object_clip())
    instances = clip_instances(targets)
    # ids 4 and 7: the first is seen in the second frame only
    assert instances.labels.tolist() == [5, 2]
    assert instances.masks.flatten(2).any(2).tolist() == [[False, True],
                                                          [True, True]]
    nowhere = demo_clip([[(0, 0, 0, 0)], [None]], [3], [1])
    assert len(clip_instances(clip_targets(nowhere)[0])) == 0


def test_similarity_takes_the_layers_of_the_streams():
    """Queries that a layer matched are those of its stream."""
    model = tiny_vita().train()
    clip = two_object_clip()
    targets = clip_targets(clip, empty_clip())
    images = torch.randn(2, 2, 3, 64, 96)
    frames = model.forward_frames(images.flatten(0, 1))
    _, matches = model.loss_frames(frames, targets)
    queries = model.frame_queries(frames, 2).unflatten(1, (2, 2)).flatten(0, 1)
    clips = model.clip_head(queries)
    features = model.clip_head.mask_feature(frames.pixels).unflatten(0, (2, 2))
    _, clip_matches = model.loss_clips(clips, features, targets)
    embeds, slots = model.matched_queries(clips, targets, matches,
                                          clip_matches[-1])
    assert [len(rows) for rows in embeds] == [5, 0, 5, 0]  # 2 layers, 2 clips
    expected = model.clip_head.embed_frame_queries(clips)
    for stream, layer in ((0, 1), (2, 2)):
        # clip queries first, then frame 0 with slot 1, frame 1 with both
        assert sorted(slots[stream][:2].tolist()) == [0, 1]
        assert slots[stream][2].item() == 1
        query = matches[layer][0].best_query[0]
        assert_close(embeds[stream][2], expected[stream, 0, query])


def test_frames_without_objects_count_nothing():
    """The mask losses are divided by the objects of the batch."""
    head = tiny_vita().frame_model.head
    torch.manual_seed(0)
    logits = torch.randn(1, 12, 1, 16, 24)
    targets = [
        clip_instances(target) for target in clip_targets(
            demo_clip([[(8, 8, 40, 40)]], [1], [0]), demo_clip([[]], [], []))
    ]
    cls_logits = torch.zeros(2, 12, 41)

    def losses(num_images):
        masks = logits.expand(num_images, -1, -1, -1, -1)
        matches = head.match_masks(cls_logits[:num_images], masks,
                                   targets[:num_images])
        torch.manual_seed(1)
        return head.loss_by_match(cls_logits[:num_images], masks,
                                  targets[:num_images], matches)

    torch.manual_seed(0)
    alone = losses(1)
    torch.manual_seed(0)
    beside = losses(2)
    for name in ('loss_mask', 'loss_dice'):
        assert_close(alone[name], beside[name])


def test_half_precision():
    """The number of objects times that of points is above 65504."""
    head = tiny_vita().frame_model.head
    head.num_points = head.loss_points.num_points = 12544
    targets = [clip_instances(*clip_targets(many_objects(8)))]
    torch.manual_seed(0)
    cls_logits, masks = torch.randn(1, 12, 41), torch.randn(1, 12, 2, 16, 24)
    matches = head.match_masks(cls_logits, masks, targets)

    def losses(dtype):
        torch.manual_seed(1)
        return head.loss_by_match(
            cls_logits.to(dtype), masks.to(dtype), targets, matches)

    half, full = losses(torch.half), losses(torch.float)
    for name, loss in full.items():
        assert loss > 0.1 and half[name].dtype == torch.float
        assert_close(half[name], loss, atol=0.02, rtol=0.02)


# --- settings ---


@pytest.mark.parametrize('options, message', [
    (dict(num_streams=0), 'num_streams must lie in 1..decoder layers of the '
     'frame model, 2, got 0'),
    (dict(num_streams=3), 'got 3'),
    (dict(max_per_video=0), 'max_per_video must be at least 1, got 0'),
    (dict(frames_at_once=0), 'frames_at_once must be at least 1, got 0'),
])
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_vita(**options)


def test_another_frame_model():
    from tests.demo_clips import tiny_model_cfg
    cfg = dict(
        type='refinevis_mm.VITA',
        frame_model=tiny_model_cfg().frame_model,
        clip_head=dict(type='refinevis_mm.VITAHead'))
    with pytest.raises(
            ValueError,
            match="frame_model.type must be 'refinevis"
            "_mm.Mask2Former', got MaskDINO"):
        MODELS.build(cfg)
