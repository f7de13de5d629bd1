# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import io
import re

import numpy as np
import pytest
import torch

from refinevis_mm.structures import TrackMerges
from refinevis_mm.visualization import refinement_strips
from refinevis_mm.visualization.refinement_strips import RefinementStrips
from tests.tiny_recordings import ResultStream, box, random_frames

SIZE = (48, 64)
CAT, DOG = [0.8, 0.1, 0.1], [0.1, 0.5, 0.1]
VIEWS = ('frame_level', 'online')


def mask(left, side=8):
    return box(left, 10, side, SIZE)


def steady(track_id=0, scores=CAT):
    """Rows of a frame in which refinement changes nothing."""
    row = (track_id, scores, True, mask(8 * track_id))
    return dict.fromkeys(VIEWS, [row])


def recovering(track_id=0, scores=CAT):
    """Rows of a frame in which only refinement finds the object."""
    return dict(
        frame_level=[(track_id, scores, False, None)],
        online=[(track_id, scores, False, mask(8 * track_id))])


def video(rows, **kwargs):
    """Frames with textured images and the scores as they are given."""
    stream = ResultStream(size=SIZE, **kwargs)
    rng = np.random.default_rng(0)
    for row in rows:
        frame = stream.frame(row)
        frame.image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        for name, view in frame.views.items():
            view.scores = [max(scores) for _, scores, *_ in row.get(name, [])]
        yield frame


def follow(frames, **kwargs):
    strips = RefinementStrips(**kwargs)
    for frame in frames:
        strips.add(frame)
    return strips


def saved(strips):
    """What a checkpoint makes of the strips."""
    buffer = io.BytesIO()
    torch.save(strips.state_dict(), buffer)
    buffer.seek(0)
    other = RefinementStrips(
        num_strips=strips.num_strips, score_thr=strips.score_thr)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    return other


@pytest.mark.parametrize('moment', range(9))
def test_recovered_object_is_found_wherever_it_is(moment):
    rows = [steady() for _ in range(9)]
    rows[moment] = recovering()
    strips = follow(video(rows))
    assert strips.moments == [(0, moment)]
    assert strips.draw() is not None


def test_change_is_score_times_pixels_times_one_minus_iou():
    # cat: 0.8 * 64 * (1 - 1/2), IoU 64 / 128; dog: 0.5 * 64 * (1 - 0)
    cat = dict(
        frame_level=[(0, CAT, True, mask(0))],
        online=[(0, CAT, True, box(0, 10, 8, SIZE) | box(8, 10, 8, SIZE))])
    rows = [steady() for _ in range(16)]
    rows[3], rows[12] = cat, recovering(1, DOG)
    assert follow(video(rows), num_strips=1).moments == [(1, 12)]
    assert follow(video(rows)).moments == [(0, 3), (1, 12)]
    rows[12] = recovering(1, [0., 0.39, 0.])
    assert follow(video(rows), num_strips=1).moments == [(0, 3)]


def test_scraps_and_rims_count_little():
    # 4 recovered pixels: 0.8 * 4; a rim of 80 at IoU 0.64: 0.8 * 80 * 0.36
    scrap = dict(
        frame_level=[(0, CAT, False, None)],
        online=[(0, CAT, False, mask(0, side=2))])
    rim = dict(
        frame_level=[(1, CAT, True, mask(0, side=12))],
        online=[(1, CAT, True, mask(0, side=15))])
    rows = [steady() for _ in range(24)]
    rows[3], rows[10], rows[17] = scrap, rim, recovering(2)
    assert follow(video(rows), num_strips=1).moments == [(2, 17)]
    assert follow(video(rows), num_strips=2).moments == [(1, 10), (2, 17)]


def test_one_strip_for_an_object_and_no_frame_twice():
    rows = [steady() for _ in range(30)]
    for moment, track_id in ((4, 0), (6, 1), (15, 0), (16, 2), (25, 1)):
        rows[moment] = recovering(track_id)
    rows[6] = recovering(1, DOG)  # less than object 0 in frame 4
    strips = follow(video(rows))
    assert strips.moments == [(0, 4), (2, 16), (1, 25)]


@pytest.mark.parametrize('num_frames', [1, 2, 5, 6])
@pytest.mark.parametrize('length', [1, 2, 5, 11])
def test_shape_for_every_length(num_frames, length):
    strips = follow(
        video([recovering() for _ in range(length)]), num_frames=num_frames)
    assert len(strips.moments) == 1
    picture = strips.draw()
    assert picture.dtype == np.uint8
    # panels of 320 x 240
    columns = min(num_frames, length)
    assert picture.shape[1] // 320 == columns
    assert picture.shape[0] > 480


def test_noise_is_removed():
    rows = [steady(1) for _ in range(12)]
    rows[3], rows[9] = recovering(0), recovering(1)
    frames = list(video(rows))
    strips = follow(frames)
    assert strips.moments == [(0, 3), (1, 9)]
    frames[11].discarded_ids = [0]
    strips = follow(frames)
    assert strips.moments == [(1, 9)]
    without = follow(
        video([dict() if k == 3 else r for k, r in enumerate(rows)]))
    assert (strips.draw() == without.draw()).all()
    # what the frame itself says of it counts again
    frames[3].discarded_ids, frames[11].discarded_ids = [0], []
    assert follow(frames).moments == [(0, 3), (1, 9)]


def test_noise_is_no_longer_drawn_in_the_strips_of_others():
    both = {
        view:
        recovering(0)[view] + steady(1)[view] +
        recovering(2)[view][:view == 'online']
        for view in VIEWS
    }
    frames = list(video([both] * 5 + [steady(3)] * 5))
    frames[7].discarded_ids = [1, 2]
    plain = list(video([recovering(0)] * 5 + [steady(3)] * 5))
    assert (follow(frames).draw() == follow(plain).draw()).all()


def test_nothing_to_show():
    assert RefinementStrips().draw() is None
    strips = follow(video([steady() for _ in range(8)]))
    assert strips.draw() is None and strips.moments == []
    low = [0.2, 0.1, 0.1]
    assert follow(video([recovering(0, low)] * 8)).draw() is None
    assert follow(video([recovering(0, low)] * 8), score_thr=0.1).moments


@pytest.mark.parametrize('views', [('frame_level', ), ('online', ),
                                   ('online', 'offline')])
def test_without_both_views_there_is_no_picture(views):
    rows = [dict.fromkeys(views, recovering()['online'])] * 8
    strips = follow(video(rows, views=views))
    assert strips.draw() is None
    assert saved(strips).draw() is None


def test_any_two_views_can_be_compared():
    rows = [dict(offline=recovering()['online'])] * 6
    views = ('frame_level', 'offline', 'online')
    assert follow(video(rows, views=views)).draw() is None
    strips = follow(video(rows, views=views), after='offline')
    assert strips.moments == [(0, 0)]


def test_memory_is_bounded():
    rng = np.random.default_rng(1)
    rows = []
    for k in range(200):
        scores = [float(rng.uniform(0.4, 1)), 0., 0.]
        rows.append(recovering(int(k % 8), scores))
    strips, most = RefinementStrips(), 0
    for frame in video(rows):
        strips.add(frame)
        most = max(most, len(strips.state_dict()['frames']))
    # twice 3 strips and the last frames, 5 each
    assert most <= 35


def test_large_frames_are_kept_small():
    stream = ResultStream(size=(720, 1280))
    full = np.zeros((720, 1280), bool)
    full[100:400, 200:500] = True
    strips = RefinementStrips()
    for _ in range(3):
        strips.add(stream.frame(dict(online=[(0, CAT, True, full)])))
    images = [f['image'] for f in strips.state_dict()['frames'].values()]
    assert [tuple(image.shape) for image in images] == [(180, 320, 3)] * 3
    picture = strips.draw()
    before, after = (
        picture[y:y + 180, -320 - 12:-12] for y in (56, 56 + 180 + 6))
    assert (before == 0).all()
    changed = after.any(axis=2)
    rows, columns = (np.flatnonzero(changed.any(axis=k)) for k in (1, 0))
    # the mask at a quarter, and its white outline
    assert abs(rows[-1] - 99) <= 3 and abs(columns[0] - 50) <= 3
    assert abs(columns[-1] - 124) <= 3


@pytest.mark.parametrize('stop', [0, 1, 4, 5, 13, 40])
def test_state_gives_the_same_picture(stop):
    frames = list(random_frames(ResultStream(size=SIZE), 40, 3))
    for frame in frames:
        frame.image[:] = frame.frame_id
    whole = follow(frames, score_thr=0.2)
    strips = follow(frames[:stop], score_thr=0.2)
    strips.draw()  # changes nothing
    strips = saved(strips)
    for frame in frames[stop:]:
        strips.add(frame)
    assert len(whole.moments) > 1 and strips.moments == whole.moments
    assert (strips.draw() == whole.draw()).all()
    assert (saved(whole).draw() == whole.draw()).all()


def test_frames_have_the_numbers_of_the_video(monkeypatch):
    texts = []
    monkeypatch.setattr(refinement_strips, 'draw_text',
                        lambda canvas, text, *_, **__: texts.append(text))
    rows = [steady()] * 3 + [recovering()] + [steady()] * 3
    strips, numbers = follow(video(rows)), [10, 15, 20, 25, 30, 35, 40]
    strips.draw()
    expected = [
        re.sub(r'frame (\d)', lambda found: f'frame {numbers[int(found[1])]}',
               text) for text in texts
    ]
    assert 'frame 25' in ' '.join(expected)
    texts.clear()
    strips.draw(numbers)
    assert texts == expected


@pytest.mark.parametrize('change, match', [
    (lambda state: state.update(scale=1e6), 'masks of the size'),
    (lambda state: state.update(scale=-1.), 'masks of the size'),
    (lambda state: state.update(end=state['end'] + 9), 'the frames that it'),
    (lambda state: state['frames'].clear(), 'the frames that it shows'),
    (lambda state: state['strips'][0].update(end=10**12), 'the frames that'),
    (lambda state: state['strips'][0].update(instance_id=99), 'the frames'),
    (lambda state: state.update(after='sideways'), 'the frames that it shows'),
    (lambda state: state['frames'][3]['instances'][0].update(
        after=dict(size=[48, 64], counts='P')), 'a mask of the state'),
    (lambda state: state['frames'][3]['instances'][0].update(
        after=dict(size=[1, 4], counts='4')), 'masks of the size'),
    (lambda state: state['frames'][3]['instances'][0].pop('iou'), 'lacks'),
    (lambda state: state['frames'][3]['instances'][0].update(iou=1e308),
     'and shares'),
])  # yapf: disable
def test_edited_states_are_refused(change, match):
    rows = [steady()] * 3 + [recovering()] + [steady()] * 3
    state = follow(video(rows)).state_dict()
    RefinementStrips().load_state_dict(state)
    change(state)
    with pytest.raises(ValueError, match=match):
        RefinementStrips().load_state_dict(state)


def test_state_does_not_change_afterwards():
    frames = list(video([steady()] * 3 + [recovering()] + [steady()] * 6))
    strips = follow(frames[:6])
    state, picture = strips.state_dict(), strips.draw()
    for frame in frames[6:]:
        frame.discarded_ids = [0]
        strips.add(frame)
    other = RefinementStrips()
    other.load_state_dict(state)
    assert strips.moments == [] and (other.draw() == picture).all()


def test_the_frames_of_the_caller_may_be_overwritten():
    frames = list(video([recovering()] * 3))
    strips = follow(frames)
    picture = strips.draw()
    for frame in frames:
        frame.image[:] = 0
    assert (strips.draw() == picture).all()


def test_bad_use():
    with pytest.raises(ValueError, match="views must be out of .* got 'past'"):
        RefinementStrips(after='past')
    with pytest.raises(ValueError, match='num_strips must be positive, got 0'):
        RefinementStrips(num_strips=0)
    with pytest.raises(ValueError, match='num_frames must be positive, got 0'):
        RefinementStrips(num_frames=0)
    frames = list(video([steady()] * 3))
    strips = follow(frames[:1])
    with pytest.raises(ValueError, match='frame 1 must come next, got .* 2'):
        strips.add(frames[2])
    strips.add(frames[1])


def test_objects_that_are_one_have_one_strip():
    """Recovered twice under two ids, later known to be one."""
    rows = [recovering(0)] + [steady(0)] * 6 + [recovering(2)]
    rows += [steady(2)] * 6
    apart = follow(video(rows))
    assert [track for track, _ in apart.moments] == [0, 2]
    apart.merge(TrackMerges({2: 0}))
    assert [track for track, _ in apart.moments] == [0]
    frames = list(video(rows))
    frames[-1].merges = TrackMerges({2: 0})
    assert follow(frames).moments == apart.moments
    assert apart.draw() is not None
