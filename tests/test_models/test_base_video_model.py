# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch

from refinevis_mm.models.base_video_model import BaseVideoModel
from tests.demo_clips import demo_clip


class Counter(BaseVideoModel):
    """Tells which frames it was given."""

    def loss(self, inputs, data_samples, **kwargs):
        raise NotImplementedError

    def start_video(self, meta):
        return [f'{meta["video_length"]} frames']

    def add_frames(self, images, metas):
        assert len(images) == len(metas)
        self._video += [meta['frame_id'] for meta in metas]

    def find_tracklets(self):
        return self._video


def clip(first, number, length=4):
    return demo_clip([[(1, 1, 9, 9)]] * number, [1], [0], 16, 16, first,
                     length)


@pytest.mark.parametrize('parts', [(1, 1, 1, 1), (4, ), (3, 1)])
def test_frames_come_a_few_at_a_time(parts):
    model, first = Counter(), 0
    for number in parts:
        sample = clip(first, number)
        result, = model.predict(torch.zeros(1, number, 3, 16, 16), [sample])
        first += number
        assert ('pred_tracklets' in result) == (first == 4)
    assert 'pred_tracklets' not in sample  # what was given stays as it was
    assert result.pred_tracklets == ['4 frames', 0, 1, 2, 3]
    assert (result.video_id, result.video_length) == (3, 4)
    with pytest.raises(ValueError, match='must start with frame_id 0, got 2'):
        model.predict(torch.zeros(1, 1, 3, 16, 16), [clip(2, 1)])


def test_a_video_may_break_off():
    model = Counter()
    for _ in range(2):
        model.predict(torch.zeros(1, 2, 3, 16, 16), [clip(0, 2)])
    result, = model.predict(torch.zeros(1, 2, 3, 16, 16), [clip(2, 2)])
    assert result.pred_tracklets == ['4 frames', 0, 1, 2, 3]


def test_two_videos_are_refused():
    with pytest.raises(ValueError, match='must hold one video, got 2'):
        Counter().predict(torch.zeros(2, 1, 3, 16, 16), [clip(0, 1)] * 2)


@pytest.mark.parametrize('sizes', [(2, 2), (3, 1), (4, )])
def test_a_batch_of_samples(sizes):
    """As the frames of one sample; the last sample has the tracklets."""
    model, first = Counter(), 0
    for size in sizes:
        samples = [clip(first + i, 1) for i in range(size)]
        results = model.predict(torch.zeros(size, 1, 3, 16, 16), samples)
        first += size
        assert ['pred_tracklets' in result
                for result in results] == [False] * (size - 1) + [first == 4]
    assert results[-1].pred_tracklets == ['4 frames', 0, 1, 2, 3]
    assert results[-1] is not samples[-1]


def test_samples_of_a_batch_follow_each_other():
    model = Counter()
    images = torch.zeros(2, 1, 3, 16, 16)
    other = clip(1, 1)
    other[0].set_metainfo(dict(video_id=5))
    large = clip(1, 1)
    large[0].set_metainfo(dict(img_shape=(16, 20)))
    for sample, match in [(clip(2, 1), 'do not follow'),
                          (other, 'do not follow'), (large, 'have one size')]:
        with pytest.raises(ValueError, match=match):
            model.predict(images, [clip(0, 1), sample])
