# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Slots of queries, on embeddings whose best assignment is known."""
import io

import pytest
import torch
from mmengine.structures import InstanceData

from refinevis_mm.models.association import QueryMatcher, Tracker
from refinevis_mm.registry import MODELS


def detections(embeds):
    embeds = torch.as_tensor(embeds, dtype=torch.float32)
    return InstanceData(
        assoc_embeds=embeds, query_inds=torch.arange(len(embeds)))


def test_it_is_a_tracker():
    tracker = MODELS.build(dict(type='refinevis_mm.QueryMatcher'))
    assert isinstance(tracker, Tracker)
    assert tracker.live_ids == []


def test_all_queries_are_taken_in_their_order():
    inds = QueryMatcher().select(
        torch.tensor([[.1], [.9], [0.]]), torch.zeros(3, 4))
    assert inds.tolist() == [0, 1, 2]


def test_slots_follow_the_look_whatever_its_length():
    tracker = QueryMatcher()
    first = tracker.track(detections(torch.eye(3)), 0)
    assert first.query_inds.tolist() == [0, 1, 2]
    turned = tracker.track(detections(9 * torch.eye(3)[[2, 0, 1]]), 5)
    assert turned.instances_id.tolist() == [0, 1, 2]
    assert turned.query_inds.tolist() == [1, 2, 0]
    assert tracker.live_ids == [0, 1, 2]
    assert tracker.discarded_ids == []


def test_the_sum_decides_not_the_best_pair():
    """Slot 0 is nearest to query 0 (0.96) but would leave slot 1 with
    -0.6; 0.8 + 0.6 is more than 0.96 - 0.6."""
    tracker = QueryMatcher()
    tracker.track(detections([[1., 0.], [0., 1.]]), 0)
    second = tracker.track(detections([[.8, .6], [.8, -.6]]), 1)
    assert second.query_inds.tolist() == [1, 0]


def test_only_the_last_frame_is_compared():
    tracker = QueryMatcher()
    tracker.track(detections([[1., 0.], [0., 1.]]), 0)
    tracker.track(detections([[.7, .6], [-.6, .7]]), 1)
    third = tracker.track(detections([[-.9, .1], [.1, .9]]), 2)
    # by the second frame slot 0 looks up, slot 1 to the left
    assert third.query_inds.tolist() == [1, 0]


def test_one_query_and_none():
    tracker = QueryMatcher()
    for frame_id in range(2):
        assert len(tracker.track(detections([[1., 2.]]), frame_id)) == 1
    tracker.reset()
    for frame_id in range(2):
        result = tracker.track(detections(torch.zeros(0, 2)), frame_id)
        assert len(result.instances_id) == 0


def test_a_saved_state_goes_on():
    frames = [detections(torch.randn(7, 5)) for _ in range(4)]
    tracker, other = QueryMatcher(), QueryMatcher(embed_dims=5)
    other.load_state_dict(tracker.state_dict())
    for frame_id, frame in enumerate(frames[:2]):
        tracker.track(frame, frame_id)
    buffer = io.BytesIO()
    torch.save(tracker.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for frame_id, frame in enumerate(frames[2:], 2):
        wanted = tracker.track(frame, frame_id)
        assert other.track(frame, frame_id).query_inds.tolist() == \
            wanted.query_inds.tolist()


@pytest.mark.parametrize('frames, message', [
    ([torch.eye(3), torch.eye(2, 3)], r'got \(2, 3\) after \(3, 3\)'),
    ([torch.eye(3) / 0], '9 NaN or infinite'),
    ([torch.eye(4)], 'must have 3 dimensions, got 4'),
])
def test_bad_embeddings(frames, message):
    tracker = QueryMatcher(embed_dims=3)
    with pytest.raises(ValueError, match=message):
        for frame_id, frame in enumerate(frames):
            tracker.track(detections(frame), frame_id)


def test_bad_frames():
    tracker = QueryMatcher()
    with pytest.raises(ValueError, match='needs assoc_embeds, got none'):
        tracker.track(InstanceData(scores=torch.zeros(2)), 0)
    tracker.track(detections(torch.eye(3)), 4)
    with pytest.raises(ValueError, match='got 4 after 4'):
        tracker.track(detections(torch.eye(3)), 4)


@pytest.mark.parametrize('change, message', [
    (dict(embeds=None), 'once there was a frame'),
    (dict(embeds=torch.full((3, 3), torch.nan)), 'must be finite'),
    (dict(embeds=torch.eye(3, 4)), r"\('n', 3\), got .*\(3, 4\)"),
    (dict(last_frame_id='1'), 'must be int, got str'),
])
def test_bad_states(change, message):
    tracker = QueryMatcher(embed_dims=3)
    tracker.track(detections(torch.eye(3)), 0)
    with pytest.raises(ValueError, match=message):
        tracker.load_state_dict(dict(tracker.state_dict(), **change))
    assert tracker.live_ids == [0, 1, 2]
