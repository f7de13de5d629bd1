# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Links of fragments on hand-made frames.

The inner tracker gives each detection the id that the test says, so that the
fragments are known.
"""
import io
import math
import time

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from refinevis_mm.models.association import (MergingTracker, StitchingTracker,
                                             StreamingTracker, find_delay,
                                             find_last_merges, find_merges)
from refinevis_mm.models.association.stitching_tracker import (Fragment,
                                                               link_log_odds)

pytestmark = pytest.mark.usefixtures('one_thread')


class GivenIds:
    """Takes the ids that stand in the detections; forgets at once."""

    def __init__(self, embed_dims=None):
        self.embed_dims = embed_dims
        self.reset()

    def reset(self):
        self.live_ids, self.discarded_ids, self.noise = [], [], {}

    def select(self, cls_scores, boxes):
        return torch.arange(len(boxes))

    def track(self, detections, frame_id):
        self.live_ids = detections.given.tolist()
        self.discarded_ids = self.noise.pop(frame_id, [])
        results = detections[detections.given >= 0]
        results.instances_id = results.given
        return results

    def state_dict(self):
        return dict(live_ids=list(self.live_ids))

    def load_state_dict(self, state):
        self.live_ids = list(state['live_ids'])


def build(**settings):
    settings = dict(
        dict(tracker=dict(type=GivenIds), delay=3, horizon=8, link_thr=0.3),
        **settings)
    return StitchingTracker(**settings)


LOOKS = dict(red=[3., 0., 0.], blue=[0., 2., 0.], green=[0., 0., 1.])


def frame(**objects):
    """Detections: ``id5=('red', x)`` has id 5, a look and a place."""
    num = len(objects)
    given = torch.tensor([int(name[2:]) for name in objects]).long()
    looks = [LOOKS[look] for look, _ in objects.values()]
    boxes = torch.tensor([[x, 0.5, 0.1, 0.1] for _, x in objects.values()])
    classes = torch.tensor([[0.9, 0.1, 0.]]).expand(num, 3)
    return InstanceData(
        given=given,
        scores=torch.full((num, ), 0.9),
        cls_scores=classes,
        labels=torch.zeros(num).long(),
        boxes=boxes.reshape(num, 4),
        masks=torch.zeros(num, 4, 4, dtype=torch.bool),
        assoc_embeds=torch.tensor(looks).reshape(num, 3))


def follow(tracker, frames, finish=True):
    """Ids of each frame as they are known at the end, and all merges."""
    ids, merges = [], {}
    for frame_id, detections in enumerate(frames):
        found = tracker.track(detections, frame_id)
        merged = find_merges(tracker)
        assert not set(merged) & set(merged.values())
        merges.update(merged)
        ids = [[merged.get(i, i) for i in known] for known in ids]
        ids.append(found.instances_id.tolist())
    if finish:
        merged = find_last_merges(tracker)
        merges.update(merged)
        ids = [[merged.get(i, i) for i in known] for known in ids]
    return ids, merges


def hidden(gap, look='red', length=5):
    """An object that is hidden for a while, then has a new id."""
    return [frame(id0=('red', 0.5))
            ] * 3 + [frame()] * (gap - 1) + [frame(id1=(look, 0.5))] * length


def test_log_odds_by_hand():
    """A stands at 0.2 and moves by 0.1 a frame, B begins at 0.6, 2 later."""

    def fragment(first, last, places, looks):
        embeds = np.array([LOOKS[look] for look in looks])
        embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
        return Fragment(
            0,
            first,
            last,
            embeds[0],
            embeds[-1],
            embeds.sum(0),
            np.array([0.6, 0.8]),
            head=places,
            tail=places)

    old = fragment(0, 1, [[0., 0.1, 0.], [1., 0.2, 0.]], ['red', 'blue'])
    young = fragment(3, 3, [[3., 0.6, 0.]], ['blue'])
    # the end looks the same, the mean has a cosine of 1 / sqrt(2); the mean
    # speed of 0.05 brings 0.1 of the way of 0.4, the rest takes 0.15 a frame
    expected = (3.0 + 1.1 / math.sqrt(2) + 3.8 - 14.0 * 0.15 -
                0.7 * math.log(2) - 3.8)
    assert link_log_odds([old],
                         [young]).tolist() == [[pytest.approx(expected)]]


def test_an_object_that_was_hidden_gets_its_id_back():
    tracker = build()
    ids, merges = follow(tracker, hidden(4))
    assert merges == {1: 0}
    assert [known for known in ids if known] == [[0]] * 8
    # it is told as soon as the delay is over, and kept
    tracker.reset()
    told = []
    for frame_id, detections in enumerate(hidden(4)):
        found = tracker.track(detections, frame_id).instances_id.tolist()
        told.append((found, dict(tracker.merged_ids)))
    assert told[-5:] == [([1], {}), ([1], {}), ([1], {}), ([0], {
        1: 0
    }), ([0], {})]


@pytest.mark.parametrize(
    'frames', [
        hidden(4, 'blue'),
        hidden(9),
        [frame(id0=('red', 0.1))] * 3 + [frame(id1=('red', 0.9))] * 4,
        [frame(id0=('red', 0.1), id1=('red', 0.5))] * 5,
        [frame(id0=('red', 0.1), id1=('blue', 0.2))] +
        [frame(id0=('red', 0.1))] * 4
    ],
    ids=[
        'another look', 'beyond the horizon', 'too fast', 'side by side',
        'overlapping'
    ])
def test_what_is_not_one_stays_apart(frames):
    _, merges = follow(build(), frames)
    assert merges == {}


def test_the_best_of_all_pairs_is_taken_not_the_first():
    """Two vanish, two come back in the other order of their ids."""
    frames = [frame(id0=('red', 0.3), id1=('blue', 0.6))] * 3 + [frame()] * 2
    frames += [frame(id2=('blue', 0.6), id3=('red', 0.3))] * 4
    ids, merges = follow(build(), frames)
    assert merges == {2: 1, 3: 0} and ids[-1] == [1, 0]


def test_a_chain_becomes_one_at_the_end_of_the_video():
    frames = [frame(id0=('red', 0.5))] * 2 + [frame()]
    frames += [frame(id1=('red', 0.5))] + [frame()]
    frames += [frame(id2=('red', 0.5))]
    tracker = build(delay=5)
    ids, merges = follow(tracker, frames)
    assert merges == {1: 0, 2: 0}
    assert [known for known in ids if known] == [[0]] * 4
    assert tracker.finish() == {}


def test_of_two_that_might_continue_one_the_better_does():
    frames = [frame(id0=('red', 0.5))] * 3 + [frame()] * 2
    frames += [frame(id1=('red', 0.6), id2=('red', 0.5))] * 5
    _, merges = follow(build(), frames)
    assert merges == {2: 0}


@pytest.mark.parametrize('noise, told, merges', [
    ({
        8: [0]
    }, [0], {}),
    ({
        10: [0, 1, 7]
    }, [7], {
        1: 0
    }),
])
def test_noise_of_the_inner_tracker(noise, told, merges):
    """What was joined, here in frame 9, is no noise."""
    tracker, found, merged = build(), [], {}
    tracker.tracker.noise = noise
    for frame_id, detections in enumerate([*hidden(4), frame()]):
        tracker.track(detections, frame_id)
        found += tracker.discarded_ids
        merged.update(tracker.merged_ids)
    assert found == told and merged == merges


def test_live_ids_are_those_that_may_come():
    tracker = build()
    frames = hidden(4)
    for frame_id, detections in enumerate(frames[:5]):
        tracker.track(detections, frame_id)
    assert tracker.live_ids == [0]
    for frame_id, detections in enumerate(frames[5:], 5):
        tracker.track(detections, frame_id)
    assert tracker.live_ids == [0]
    for frame_id in range(len(frames), len(frames) + 12):
        tracker.track(frame(), frame_id)
    assert tracker.live_ids == []


def test_memory_is_bounded_by_the_horizon():
    tracker, most = build(), 0
    for frame_id in range(400):
        tracker.track(frame(**{f'id{frame_id}': ('red', 0.5)}), frame_id)
        most = max(most, len(tracker.state_dict()['fragments']))
    assert most <= 8 + 3 + 1


@pytest.mark.parametrize('stop', [3, 6, 8])
def test_goes_on_from_a_saved_state(stop):
    frames = hidden(4)
    tracker, other = build(), build()
    for frame_id, detections in enumerate(frames[:stop]):
        tracker.track(detections, frame_id)
    buffer = io.BytesIO()
    torch.save(tracker.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for frame_id, detections in enumerate(frames[stop:], stop):
        first, second = (
            t.track(detections, frame_id) for t in (tracker, other))
        assert first.instances_id.equal(second.instances_id)
        assert tracker.merged_ids == other.merged_ids
    assert tracker.finish() == other.finish()


@pytest.mark.parametrize(
    'change, match',
    [(lambda state: state.pop('fragments'), 'fragments'),
     (lambda state: state['fragments'][0].pop('head'), "lacks 'head'"),
     (lambda state: state['fragments'][0].update(head=[]), 'ends of each'),
     (lambda state: state['fragments'][0].update(tail=[[1.]]), 'ends of each'),
     (lambda state: state['fragments'][0].update(first=9), 'ends of each'),
     (lambda state: state['fragments'][0].update(
         first_embed=torch.zeros(4).double()), 'of one width'),
     (lambda state: state['fragments'][0].update(decided=1), 'bool')])
def test_edited_states_are_refused(change, match):
    tracker = build()
    tracker.track(frame(id0=('red', 0.5), id1=('blue', 0.1)), 0)
    state = tracker.state_dict()
    change(state)
    with pytest.raises(ValueError, match=match):
        tracker.load_state_dict(state)
    assert tracker.live_ids == [0, 1]


@pytest.mark.parametrize('settings, match', [
    (dict(delay=0), 'delay must be >= 1, got 0'),
    (dict(horizon=0), 'horizon must be >= 1, got 0'),
    (dict(link_thr=0), r'link_thr must lie in \(0, 1\), got 0'),
    (dict(link_thr=1.5), 'link_thr must lie in'),
])
def test_bad_settings(settings, match):
    with pytest.raises(ValueError, match=match):
        build(**settings)


def test_bad_detections():
    detections = frame(id0=('red', 0.5))
    del detections.assoc_embeds
    with pytest.raises(ValueError, match='needs assoc_embeds, got none'):
        build().track(detections, 0)
    detections = frame(id0=('red', 0.5))
    detections.assoc_embeds[0, 0] = float('nan')
    with pytest.raises(ValueError, match='assoc_embeds must be finite'):
        build().track(detections, 0)


def test_only_a_merging_tracker_merges():
    assert isinstance(build(), MergingTracker) and find_delay(build()) == 3
    plain = StreamingTracker()
    assert not isinstance(plain, MergingTracker)
    assert (find_merges(plain), find_last_merges(plain),
            find_delay(plain)) == ({}, {}, 0)


def test_a_frame_of_30_detections_takes_less_than_3_ms():
    """A third of them new in every fifth frame, the inner tracker aside."""
    tracker = build(delay=10, horizon=30)
    torch.manual_seed(0)

    def crowd(first, num):
        detections = frame(
            **{f'id{first + i}': ('red', (i % 10) / 10)
               for i in range(num)})
        detections.assoc_embeds = torch.randn(num, 64)
        return detections

    times = []
    for frame_id in range(60):
        # every fifth frame a third of them is new
        first = 10 * (frame_id // 5)
        detections = crowd(first, 30)
        start = time.perf_counter()
        tracker.track(detections, frame_id)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 3e-3


def test_an_id_that_was_merged_does_not_come_back():
    """The inner tracker calls noise what is part of more, and finds it."""
    tracker = build(delay=2, horizon=20)
    tracker.tracker.noise = {11: [1]}
    frames = hidden(
        4, length=4) + [frame()] * 2 + [frame(id1=('red', 0.5))] * 4
    ids, merges = follow(tracker, frames)
    assert merges == {1: 0}
    assert [known for known in ids if known] == [[0]] * 11


def test_halves_and_nests_of_merging_trackers_are_refused():
    with pytest.raises(ValueError, match='must not merge itself, got Stitch'):
        build(tracker=dict(type=StitchingTracker, tracker=dict(type=GivenIds)))

    class Half(GivenIds):
        merged_ids = {}

    with pytest.raises(ValueError, match=r"Half without \['delay', 'finish'"):
        build(tracker=dict(type=Half))
