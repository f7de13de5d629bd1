# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.video_io import TimedFrame, open_source
from tests.test_video_io.videos import gray, times, values


def test_iterator_is_read_once():
    source = open_source((gray(20 * k) for k in range(3)), fps=5)
    assert source.num_frames == 0
    frames = list(source)
    assert values(frames) == [0, 20, 40]
    assert times(frames) == [0., .2, .4]
    with pytest.raises(ValueError, match='of a generator can be read once'):
        iter(source)


def test_list_can_be_read_again():
    source = open_source([gray(20 * k) for k in range(3)])
    assert source.num_frames == 3
    assert values(source) == values(source) == [0, 20, 40]
    assert values(source.frames_from(2)) == [40]


def test_times_are_kept():
    frames = [TimedFrame(gray(0), 1.5), TimedFrame(gray(20), 1.75)]
    assert times(open_source(iter(frames))) == [1.5, 1.75]


@pytest.mark.parametrize('second, reason', [
    (gray(0, 50, 70), 'frame 1 must be 64 x 48 as the first one, got 70 x 50'),
    (np.zeros((48, 64)), r'frame 1 must be an array .* got shape \(48, 64\)'),
    ('image.png', 'frame 1 must be an array .* got str'),
    (TimedFrame(gray(0), 0.), 'times of frames must grow, got 0.0 s after'),
])
def test_frames_are_checked(second, reason):
    frames = iter(open_source([gray(0), second]))
    next(frames)
    with pytest.raises(ValueError, match=reason):
        next(frames)
