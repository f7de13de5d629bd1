# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.visualization import instance_color, track_timeline
from refinevis_mm.visualization.track_timeline import (MAX_ROWS, PLOT_WIDTH,
                                                       draw_timeline)
from tests.tiny_recordings import ResultStream, box, create

CAT = [0.8, 0.1, 0.1]
STATES = dict(d=(True, box(0)), r=(False, box(0)), m=(False, None))


def record(tmp_path, tracks, times=None, views=('frame_level', 'online')):
    """A recording of tracks written as 'ddrm--d', one letter per frame."""
    stream = ResultStream(views)
    recording = create(tmp_path / 'video.sqlite', views)
    for index in range(max(map(len, tracks.values()), default=0)):
        rows = [(track_id, CAT, *STATES[states[index]])
                for track_id, states in tracks.items() if states[index] != '-']
        recording.add(
            stream.frame({views[-1]: rows},
                         time=None if times is None else times[index]))
    recording.finish()
    return recording


def columns_of(picture, color):
    """Where a colour is in the picture, from the left end of the plot."""
    found = (picture == color).all(axis=2).any(axis=0)
    return np.flatnonzero(found) - (picture.shape[1] - PLOT_WIDTH - 28)


def rows_of(picture, color):
    return np.flatnonzero((picture == color).all(axis=2).any(axis=1))


def test_bars_are_where_the_track_was(tmp_path):
    with record(tmp_path, {0: '--dddddd--'}) as recording:
        picture = draw_timeline(recording)
    columns = columns_of(picture, instance_color(0))
    # 2/10 to 8/10 of 900 px, inside of the edge
    assert columns[0] == 181 and columns[-1] == 718
    assert len(columns) == 538
    assert len(rows_of(picture, instance_color(0))) == 12


def test_uneven_times(tmp_path):
    times = [0., 0.1, 0.5, 0.6, 1.6, 1.8]  # the last frame: 0.2, the median
    with record(tmp_path, {0: '--dd--'}, times) as recording:
        columns = columns_of(draw_timeline(recording), instance_color(0))
    assert abs(columns[0] - 900 * 0.5 / 2) <= 1
    assert abs(columns[-1] - 900 * 1.6 / 2) <= 2


def test_states_differ_without_colour(tmp_path):
    pictures = {}
    for state in 'drm':
        (tmp_path / state).mkdir()
        with record(tmp_path / state, {4: 'd' + state * 9}) as recording:
            # the row without its first frame, which gives it a score
            row = draw_timeline(recording)[14 + 44:14 + 44 + 22]
            left = row.shape[1] - PLOT_WIDTH - 28
            pictures[state] = row[:, left + 92:left + 899]
    filled = {
        state: (picture.min(axis=2) < 200).mean()
        for state, picture in pictures.items()
    }
    assert filled['d'] > 0.6 and 0.1 < filled['r'] < 0.3 > filled['m'] > 0
    assert not (pictures['m'] == instance_color(4)).all(axis=2).any()
    # a hatched bar has white in its middle line, a solid one has not
    middle = {s: p[11].min(axis=1) == 255 for s, p in pictures.items()}
    assert not middle['d'].any()
    assert middle['r'].any() and not middle['r'].all()


def test_a_single_recovered_frame_is_visible(tmp_path):
    states = 'd' * 1500 + 'r' + 'd' * 1499
    with record(tmp_path, {0: states}) as recording:
        picture = draw_timeline(recording)
    with_it = picture[14 + 44:14 + 66]
    left = picture.shape[1] - PLOT_WIDTH - 28
    bar = with_it[11, left + 445:left + 456]
    assert (bar == track_timeline.EDGE).all(axis=1).sum() >= 2


def test_rows_are_limited_and_it_says_so(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(track_timeline, 'draw_text',
                        lambda canvas, text, *args: written.append(text))
    tracks = {k: 'd' * (1 + k % 7) + '-' * (6 - k % 7) for k in range(200)}
    with record(tmp_path, tracks) as recording:
        picture = draw_timeline(recording)
    assert picture.shape[0] < 30 * MAX_ROWS
    assert written[0] == ('200 tracks with a score of at least 0.3; the 40 '
                          'seen longest are drawn, 160 left out')
    drawn = [
        int(text.split('#')[1].split()[0]) for text in written if '#' in text
    ]
    assert len(drawn) == MAX_ROWS and drawn == sorted(drawn)
    # 28 tracks have 7 frames, the first 12 of those with 6 are there too
    assert sum(k % 7 == 6 for k in drawn) == 28
    assert [k for k in drawn if k % 7 == 5] == list(range(5, 84, 7))


def test_labels_and_score_thr(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(track_timeline, 'draw_text',
                        lambda canvas, text, *args: written.append(text))
    with record(tmp_path, {3: 'dddd'}) as recording:
        draw_timeline(recording)
        assert written[0] == '1 track with a score of at least 0.3'
        assert 'cat #3 0.80' in written
        assert {
            '0', '0.2', '0.4', 'time in seconds', 'detected',
            'recovered by refinement', 'missed'
        } <= set(written)
        written.clear()
        draw_timeline(recording, score_thr=0.9)
    assert written[0] == '0 tracks with a score of at least 0.9'
    assert 'no track' in written and 'cat #3 0.80' not in written


def test_views(tmp_path):
    with record(tmp_path, {0: 'ddd'}) as recording:
        color = instance_color(0)
        assert len(columns_of(draw_timeline(recording), color))
        before = draw_timeline(recording, view='frame_level')
        assert not len(columns_of(before, color))
        with pytest.raises(ValueError, match='offline'):
            draw_timeline(recording, view='offline')


@pytest.mark.parametrize('tracks, times', [({}, None), ({
    0: '-'
}, None), ({
    0: 'd'
}, None), ({
    0: 'rd'
}, [0., 0.]), ({
    0: 'dd'
}, [0., 1e5])])
def test_always_a_picture(tmp_path, tracks, times):
    with record(tmp_path, tracks, times) as recording:
        picture = draw_timeline(recording)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert picture.min() < 50


@pytest.mark.parametrize('duration, step', [(10, 1), (10.1, 2), (0.34, 0.05),
                                            (60, 10), (3600, 500), (1, 0.1)])
def test_ticks_are_few_and_round(duration, step):
    assert track_timeline._tick_step(duration) == pytest.approx(step)
