# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The test loop on a model that reads its results from the pictures."""
import pytest
import torch
from mmdet.structures import TrackDataSample

from refinevis_mm.models import BaseVISModel
from refinevis_mm.structures import DecodedFrame, VideoResult
from tests.demo_clips import demo_clip
from tests.model_stream import ModelStream

SIZE = (4, 6)


class DigitTracker:
    """Gives out the ids it is told, and judges those above 9 noise."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.live_ids, self.discarded_ids = [], []


class DigitModel(BaseVISModel):
    """The first row of a picture lists the ids of its objects.

    Each is a mask of one pixel in the column of its place, of the class that
    its id is even or odd.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.tracker = DigitTracker()

    def loss(self, inputs, data_samples, **kwargs):
        return {}

    def track(self, image, meta, tracker):
        ids = [int(i) for i in image[0, 0] if i >= 0]
        tracker.discarded_ids = [i - 10 for i in ids if i > 9]
        ids = [i for i in ids if i <= 9]
        tracker.live_ids += ids
        masks = torch.zeros(len(ids), *SIZE, dtype=torch.bool)
        masks[range(len(ids)), 1, range(len(ids))] = True
        cls_scores = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
        cls_scores = cls_scores[[i % 2 for i in ids]]
        detected = torch.ones(len(ids), dtype=torch.bool)
        return DecodedFrame(meta['frame_id'], ids, cls_scores, detected,
                            detected, masks)

    def decode(self, tracks, refined=True):
        return tracks


def picture(*ids):
    image = torch.full((3, *SIZE), -1.)
    image[0, 0, :len(ids)] = torch.tensor(ids).float()
    return image


def video(num_frames):
    return demo_clip(
        [[(0, 0, 2, 2)]] * num_frames, [1], [0], height=SIZE[0], width=SIZE[1])


def part(sample, start, end):
    some = TrackDataSample()
    some.video_data_samples = sample.video_data_samples[start:end]
    return some


VIDEO = torch.stack([picture(4, 7), picture(7), picture(), picture(2, 4)])


@pytest.mark.parametrize('lengths', [[4], [1, 1, 1, 1], [3, 1]])
def test_tracklets_come_with_the_last_frame(lengths):
    """However many frames are given at once."""
    model, sample, start = DigitModel(cls_thr=0.5), video(4), 0
    for length in lengths:
        end = start + length
        out, = model.predict(VIDEO[None, start:end],
                             [part(sample, start, end)])
        assert ('pred_tracklets' in out.metainfo) == (end == 4)
        start = end
    assert (out.video_id, out.video_length) == (3, 4)
    found = [(item['instances_id'], item['label'],
              [rle is not None for rle in item['segmentations']])
             for item in out.pred_tracklets]
    assert found == [(4, 0, [True, False, False, True]),
                     (7, 1, [True, True, False, False]),
                     (2, 0, [False, False, False, True])]
    assert [item['score']
            for item in out.pred_tracklets] == pytest.approx([0.9] * 3)
    # both classes of each above 0.05
    out, = DigitModel().predict(VIDEO[None], [sample])
    assert len(out.pred_tracklets) == 6


def test_videos_do_not_mix():
    model = DigitModel()
    model.predict(VIDEO[None, :2], [part(video(4), 0, 2)])  # broken off
    for _ in range(2):
        out, = model.predict(VIDEO[None, :1], [video(1)])
        ids = {item['instances_id'] for item in out.pred_tracklets}
        assert ids == {4, 7}
    assert model.tracker.live_ids == []  # the pattern of all trackers
    model.tracker.live_ids.append(3)
    assert model.init_tracker().live_ids == []


def test_noise_is_taken_back():
    images = torch.stack([picture(4, 7), picture(14, 7), picture(4)])
    out, = DigitModel(cls_thr=0.5).predict(images[None], [video(3)])
    found = {
        item['instances_id']:
        [rle is not None for rle in item['segmentations']]
        for item in out.pred_tracklets
    }
    assert found == {7: [True, True, False], 4: [False, False, True]}


def test_stages_give_what_predict_gathers():
    model, sample = DigitModel(), video(4)
    stream, gathered = ModelStream(model), VideoResult(4)
    for image, frame in zip(VIDEO, sample):
        result, = stream.step(image, frame.metainfo)
        gathered.add_frame(result.frame_id, result.ids, result.cls_scores,
                           result.scored, result.masks)
    out, = model.predict(VIDEO[None], [sample])
    assert out.pred_tracklets == gathered.tracklets(cls_thr=model.cls_thr)


def test_a_batch_is_one_video_from_its_start():
    model = DigitModel()
    with pytest.raises(ValueError, match='must hold one video, got 2'):
        model.predict(VIDEO[None].repeat(2, 1, 1, 1, 1), [video(4)] * 2)
    with pytest.raises(ValueError, match='start with frame_id 0, got 1'):
        model.predict(VIDEO[None, 1:], [part(video(4), 1, 4)])


@pytest.mark.parametrize('options, message', [
    (dict(mode='both'), "mode must be one of .* got 'both'"),
    (dict(window=-1), 'window must be a non-negative int, got -1'),
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        DigitModel(**options)


def test_nothing_can_be_built_without_the_two_methods():
    with pytest.raises(TypeError, match='abstract'):
        BaseVISModel()
