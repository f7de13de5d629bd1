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
