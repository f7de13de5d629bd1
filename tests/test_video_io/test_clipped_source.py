# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.video_io import (FrameSource, LazyFrame, TimedFrame,
                                   open_source, parse_position)
from tests.test_video_io.videos import gray, noise, times, values, write_video


@pytest.fixture
def source():
    """Builds clips of ten frames of grey 0, 10, 20 ..., one each 0.5 s."""
    video = np.stack([gray(10 * k) for k in range(10)])
    return lambda **clip: open_source(video, fps=2, **clip)


@pytest.mark.parametrize('clip, expected', [
    (dict(start=7), [70, 80, 90]),
    (dict(start='7'), [70, 80, 90]),
    (dict(end=2), [0, 10]),
    (dict(start=3, end=5), [30, 40]),
    (dict(stride=4), [0, 40, 80]),
    (dict(start=1, end=8, stride=3), [10, 40, 70]),
    (dict(start=1, end=7, stride=3), [10, 40]),
    (dict(start=3.5), [70, 80, 90]),
    (dict(start='3.4s'), [70, 80, 90]),
    (dict(end='0:01'), [0, 10]),
    (dict(start='0:01', end=2.), [20, 30]),
    (dict(start=2, end='1.5'), [20]),
    (dict(start=8, end=100), [80, 90]),
])
def test_which_frames(source, clip, expected):
    clip = source(**clip)
    assert values(clip) == expected
    assert clip.num_frames == len(expected)
    assert times(clip) == [value / 20 for value in expected]
    assert values(clip.frames_from(1)) == expected[1:]


def test_rate_and_settings_follow(source):
    clip = source(start='1s', end=9, stride=2, max_size=32)
    assert clip.fps == 1
    assert clip.settings == dict(
        source().settings, start=1., end=9, stride=2, max_size=32)


def test_times_of_a_video_with_variable_rate(tmp_path):
    path = tmp_path / 'v.mp4'
    ticks = [0, 40, 140, 141, 500, 1500]
    write_video(path, [gray(20 * k) for k in range(6)], ticks=ticks)
    clip = open_source(path, start=.14, end='1.5')
    assert times(clip) == [.14, .141, .5]
    assert values(clip) == pytest.approx([40, 60, 80], abs=4)


@pytest.mark.parametrize('clip, expected', [
    (dict(start=1), 5),
    (dict(start=1, end=4), 3),
    (dict(start=.04), 0),
    (dict(end=.5), 0),
    (dict(start=1, fps=2), 5),
    (dict(start=.5, fps=2), 5),
])
def test_number_of_frames_that_is_not_known(tmp_path, clip, expected):
    """Where the rate varies, times do not tell how many frames there are."""
    path = tmp_path / 'v.mp4'
    write_video(path, [gray(0)] * 6, ticks=[0, 40, 140, 141, 500, 1500])
    source = open_source(path, **clip)
    assert source.num_frames == expected
    assert expected in (0, len(list(source)))


def test_max_size(tmp_path):
    """100 x 60 pixels become 50 x 30: means of blocks of four."""
    video = noise(2, 60, 100)
    (first, _) = open_source(video, max_size=50)
    blocks = video[0].reshape(30, 2, 50, 2, 3).mean((1, 3))
    assert np.abs(first.image - blocks).max() <= .5
    tall = open_source(noise(1, 100, 61), max_size=50)
    assert next(iter(tall)).image.shape == (50, 30, 3)
    same = open_source(video, max_size=100)  # never larger
    np.testing.assert_array_equal(next(iter(same)).image, video[0])
    thin = open_source(noise(1, 1, 400), max_size=20)
    assert next(iter(thin)).image.shape == (1, 20, 3)


@pytest.mark.parametrize('clip, reason', [
    (dict(start=5, end=5), 'start must lie before end, got start 5 and end 5'),
    (dict(start='2s', end=1.), 'start must lie before end'),
    (dict(stride=0), 'stride must be an integer of at least 1, got 0'),
    (dict(stride=1.5), 'stride must be an integer of at least 1, got 1.5'),
    (dict(max_size=-1), 'max_size must be an integer of at least 1, got -1'),
    (dict(max_size=0), 'max_size must be an integer of at least 1, got 0'),
    (dict(start=-1), r'start must be a frame \(120\) or a time .* got -1'),
    (dict(end='soon'), r"end must be a frame .* got 'soon'"),
])
def test_refused_options(source, clip, reason):
    with pytest.raises(ValueError, match=reason):
        source(**clip)


def test_nothing_left(source):
    with pytest.raises(
            ValueError, match='array has no frame between start 10'):
        list(source(start=10))
    with pytest.raises(ValueError, match='no frame between start 9.* end 2.0'):
        list(source(start=9, end=2.))


@pytest.mark.parametrize('text, expected', [
    ('120', 120),
    (0, 0),
    (' 12.5 ', 12.5),
    ('12s', 12.),
    ('1:02', 62.),
    ('00:01:02.5', 62.5),
    ('2:00:00', 7200.),
    ('90:00', 5400.),
    (3., 3.),
])
def test_parse_position(text, expected):
    found = parse_position(text, 'start')
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize('text', [
    '', '-1', '1:60', '1:2:3:4', '1:99:00', '12 s 5', 'nan', True,
    float('nan'),
    float('inf'), -.5, None, '1e3', ':10', '9' * 400 + '.'
])
def test_refused_positions(text):
    with pytest.raises(ValueError, match='end must be a frame'):
        parse_position(text, 'end')


class Live(FrameSource):
    """Every third of 12 frames of a stream; the others were dropped."""

    name, settings, live, num_dropped, closed = 'cam', {}, True, 8, False

    def __iter__(self):
        return (frame.timed() for frame in self.scan())

    def scan(self):
        for index in range(0, 12, 3):
            yield LazyFrame(index, index / 10, lambda: gray(0))

    def close(self):
        self.closed = True


def test_live_source_counts_from_the_connection():
    live = Live()
    assert times(open_source(live, start=3, end=.9)) == [.3, .6]
    assert times(open_source(live, stride=4)) == [0., .6]
    assert times(open_source(live, stride=3)) == [0., .3, .6, .9]
    clip = open_source(live, stride=2)
    assert (clip.live, clip.num_dropped, clip.num_frames) == (True, 8, 0)
    with pytest.raises(ValueError, match='cam is live: it has no earlier'):
        clip.frames_from(1)
    clip.close()
    assert live.closed


def test_source_that_only_iterates():
    """Sources of other packages need only ``__iter__``."""

    class Plain(FrameSource):
        name, settings, num_frames, fps = 'plain', {}, 4, 10.

        def __iter__(self):
            for k in range(4):
                yield TimedFrame(gray(20 * k), k / 10)

    clip = open_source(Plain(), start=1, stride=2)
    assert values(clip) == [20, 60]
    assert values(Plain().frames_from(3)) == [60]
    assert (clip.num_frames, clip.fps) == (2, 5.)
