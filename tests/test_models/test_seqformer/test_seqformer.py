# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""SeqFormer in training and in the test loop, and bad input."""
import pytest
import torch
from mmdet.structures import DetDataSample, TrackDataSample

from refinevis_mm.apis.video_config import as_video_config
from refinevis_mm.registry import MODELS
from tests.demo_clips import demo_clip, empty_clip, two_object_clip
from tests.tiny_seqformer import tiny_seqformer_cfg
from tests.training_checks import assert_trains

BOX = (8, 8, 40, 40)


def build(**options):
    torch.manual_seed(0)
    model = MODELS.build(tiny_seqformer_cfg(**options).model)
    model.init_weights()
    # at initialisation no score reaches the threshold
    torch.nn.init.constant_(model.frame_model.head.fc_cls[-1].bias, 0.)
    return model


def sample_of(t, length, img_shape=(64, 96), ori_shape=(32, 48)):
    sample = TrackDataSample()
    sample.video_data_samples = [
        DetDataSample(
            metainfo=dict(
                frame_id=t,
                video_id=3,
                video_length=length,
                img_shape=img_shape,
                ori_shape=ori_shape))
    ]
    return sample


@torch.no_grad()
def play(model, frames, **kwargs):
    """Frame by frame; results of the last one."""
    for t, frame in enumerate(frames):
        out, = model.predict(frame[None, None],
                             [sample_of(t, len(frames), **kwargs)])
        assert ('pred_tracklets' in out.metainfo) == (t == len(frames) - 1)
    return out.metainfo['pred_tracklets']


@pytest.mark.parametrize('clips', [
    (two_object_clip(), two_object_clip(labels=[3, 1])),
    (two_object_clip(), empty_clip()),
    (empty_clip(), empty_clip()),
])
def test_training(clips):
    model = build().train()
    losses = model.loss(torch.randn(2, 2, 3, 64, 96), list(clips))
    assert set(losses) == {
        f'{prefix}loss_{name}'
        for prefix in ('d0.', '')
        for name in ('cls', 'bbox', 'iou', 'mask', 'dice')
    }
    assert_trains(model, losses)


@pytest.mark.parametrize('num_frames', [1, 3])
def test_clips_of_any_length_train(num_frames):
    model = build().train()
    losses = model.loss(
        torch.randn(1, num_frames, 3, 64, 96),
        [demo_clip([[BOX]] * num_frames, [1], [2])])
    assert_trains(model, losses)


def test_more_objects_than_queries_train():
    model = build().train()
    boxes = [(6 * i, 8, 6 * i + 6, 24) for i in range(14)]
    losses = model.loss(
        torch.randn(1, 2, 3, 64, 96),
        [demo_clip([boxes] * 2, list(range(14)), [1] * 14)])
    assert_trains(model, losses)


def test_objects_that_no_frame_shows_are_left_out():
    """An empty mask, as cropping leaves it."""
    model, images = build().eval(), torch.randn(1, 2, 3, 64, 96)
    shown = demo_clip([[BOX]] * 2, [1], [2])
    hidden = demo_clip([[BOX, (90, 60, 90, 60)]] * 2, [1, 2], [2, 3])
    torch.testing.assert_close(
        model.loss(images, [shown]), model.loss(images, [hidden]))


@pytest.mark.parametrize('length, options', [
    (1, {}),
    (4, {}),
    (1, dict(clip_length=3)),
    (3, dict(clip_length=3)),
    (4, dict(clip_length=3)),
    (6, dict(clip_length=3, clip_stride=2)),
])
def test_videos(length, options):
    tracklets = play(build(**options).eval(), torch.randn(length, 3, 64, 96))
    # all 40 classes of the ten best queries, at least
    assert len(tracklets) >= 400 and len(tracklets) % 40 == 0
    assert {row['label'] for row in tracklets} == set(range(40))
    assert all(len(row['segmentations']) == length for row in tracklets)
    codes = [code for row in tracklets for code in row['segmentations']]
    assert {tuple(code['size']) for code in codes if code} == {(32, 48)}


def test_one_clip_of_the_video_is_the_video():
    frames = torch.randn(4, 3, 64, 96)
    assert play(build().eval(),
                frames) == play(build(clip_length=4).eval(), frames)


def test_several_frames_at_once():
    frames = torch.randn(4, 3, 64, 96)
    model = build(clip_length=2).eval()
    sample = TrackDataSample()
    sample.video_data_samples = [sample_of(t, 4)[0] for t in range(4)]
    with torch.no_grad():
        out, = model.predict(frames[None], [sample])
    assert out.metainfo['pred_tracklets'] == play(model, frames)


def test_frames_of_unequal_size():
    model = build(clip_length=2).eval()
    shapes = [(64, 96), (96, 64), (96, 96)]
    with torch.no_grad():
        for t, shape in enumerate(shapes):
            out, = model.predict(
                torch.randn(1, 1, 3, *shape), [sample_of(t, 3, shape, shape)])
    sizes = [{
        tuple(row['segmentations'][t]['size'])
        for row in out.metainfo['pred_tracklets'] if row['segmentations'][t]
    } for t in range(3)]
    assert all(size <= {shape} for size, shape in zip(sizes, shapes))
    assert any(sizes)


def test_a_clip_keeps_no_more_frames_than_it_has():
    model = build(clip_length=2).eval()
    with torch.no_grad():
        for t in range(5):
            model.predict(torch.randn(1, 1, 3, 64, 96), [sample_of(t, 9)])
    video = model._video
    assert len(video._frames) == 2 and len(video._matcher._sums) == 1


def test_a_new_video_forgets_the_old_one():
    model, frames = build().eval(), torch.randn(2, 3, 64, 96)
    expected = play(model, frames)
    with torch.no_grad():  # a video that is cut off
        model.predict(torch.randn(1, 1, 3, 64, 96), [sample_of(0, 9)])
    assert play(model, frames) == expected


@pytest.mark.parametrize('numbers, message', [
    ([1], 'a video must start with frame_id 0, got 1'),
    ([0, 2], 'the next frame must be frame 1 of 9, got frame_id 2'),
    ([0, 1, 1], 'the next frame must be frame 2 of 9, got frame_id 1'),
])
def test_frames_out_of_order(numbers, message):
    model = build().eval()
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        for t in numbers:
            model.predict(torch.randn(1, 1, 3, 64, 96), [sample_of(t, 9)])


def test_two_videos_at_once():
    with pytest.raises(ValueError, match='must hold one video, got 2'):
        build().predict(torch.randn(2, 1, 3, 64, 96), [sample_of(0, 1)] * 2)


@pytest.mark.parametrize('options, message', [
    (dict(clip_length=0), 'clip_length must be at least 1, got 0'),
    (dict(num_instances=0), 'num_instances must be at least 1, got 0'),
    (dict(clip_length=3, clip_stride=4),
     r'clip_stride must lie in 1..clip_length, got 4 with 3'),
    (dict(clip_stride=0), r'clip_stride must lie in 1..clip_length, got 0'),
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_streams_are_refused():
    with pytest.raises(
            ValueError, match='cannot stream, SeqFormer: run tools/test'):
        as_video_config(tiny_seqformer_cfg())
