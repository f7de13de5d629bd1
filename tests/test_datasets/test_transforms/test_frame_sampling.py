# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.datasets.transforms import KeyFirstFrameSample


def _video(length):
    return dict(
        video_id=9,
        video_length=length,
        images=[dict(frame_id=i, img_id=100 + i) for i in range(length)])


@pytest.mark.parametrize('num_ref', [1, 3])
def test_clips_are_ordered_and_near(num_ref):
    np.random.seed(0)
    sample = KeyFirstFrameSample(num_ref, frame_range=4)
    starts, gaps = set(), set()
    for _ in range(300):
        clip = sample(_video(12))
        ids = clip['frame_id']
        assert ids == sorted(set(ids)) and len(ids) == num_ref + 1
        assert clip['img_id'] == [100 + i for i in ids]
        assert clip['key_frame_flags'] == [True] + [False] * num_ref
        assert clip['video_id'] == [9] * len(ids)
        assert clip['video_length'] == [12] * len(ids)
        starts.add(ids[0])
        gaps.add(ids[1] - ids[0])
    assert starts == set(range(12 - num_ref))
    assert min(gaps) == 1 and max(gaps) <= 8
    if num_ref == 1:
        assert gaps == {1, 2, 3, 4}


def test_short_videos_repeat_frames():
    assert KeyFirstFrameSample(2)(_video(1))['frame_id'] == [0, 0, 0]
    ids = KeyFirstFrameSample(3)(_video(2))['frame_id']
    assert len(ids) == 4 and set(ids) == {0, 1}


def test_given_frame_is_in_the_clip():
    video = dict(key_frame_id=5, **_video(30))
    for _ in range(20):
        assert 5 in KeyFirstFrameSample(1, 10)(video)['frame_id']


def test_bad_arguments():
    with pytest.raises(ValueError, match='frame_range'):
        KeyFirstFrameSample(frame_range=0)
    with pytest.raises(ValueError, match='num_ref_imgs'):
        KeyFirstFrameSample(num_ref_imgs=-1)
