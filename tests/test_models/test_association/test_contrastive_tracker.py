# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Each rule of the tracker on hand-made frames.

Detections are one-hot embeddings of length 10, so equal objects are almost
certainly matched (bi-softmax near 1) and different ones are not (near 0), and
disjoint 1-pixel masks unless a test says otherwise.
"""
import io
import math
import time

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models.association import ContrastiveTracker
from refinevis_mm.registry import MODELS

DIMS, HEIGHT, WIDTH = 8, 4, 6


def frame(objects, scores, pixels=None, labels=None):
    """Detections of numbered objects with given scores.

    Args:
        objects (list[int]): Which axis the embedding points to.
        scores (list[float]): Descending.
        pixels (list[slice], optional): Flat pixels of the masks.
        labels (list[int], optional): Classes, all 0 by default.
    """
    masks = torch.zeros(len(objects), HEIGHT * WIDTH, dtype=torch.bool)
    for i, obj in enumerate(objects):
        masks[i, pixels[i] if pixels else obj] = True
    labels = labels or [0] * len(objects)
    return InstanceData(
        scores=torch.tensor(scores, dtype=torch.float),
        labels=torch.tensor(labels, dtype=torch.long),
        masks=masks.view(-1, HEIGHT, WIDTH),
        assoc_embeds=10 * torch.eye(DIMS)[objects].view(-1, DIMS),
        query_inds=torch.arange(len(objects)))


def ids_of(results):
    return results.instances_id.tolist()


def test_build_from_registry():
    tracker = MODELS.build(
        dict(type='refinevis_mm.ContrastiveTracker', match_score_thr=0.6))
    assert tracker.match_score_thr == 0.6


def test_settings_for_ovis():
    """IDOL's two data-set settings differ in two thresholds."""
    youtube = vars(ContrastiveTracker())
    for path in ('refinevis/refinevis_r50_16xb1-lsj-13k_ovis.py',
                 'idol/idol_r50_8xb2-12k_ovis.py'):
        cfg = Config.fromfile(f'configs/{path}').model.tracker
        ovis = vars(MODELS.build(cfg))
        differing = {
            name: (youtube[name], ovis[name])
            for name in youtube
            if isinstance(youtube[name], float) and youtube[name] != ovis[name]
        }
        assert differing == dict(
            mask_nms_thr=(0.5, 0.3), new_score_thr=(0.2, 0.3))


@pytest.mark.parametrize('kwargs', [
    dict(match_score_thr=1.5),
    dict(memory_len=0),
    dict(memory_type='mean'),
    dict(memory_momentum=0.)
])
def test_bad_arguments(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        ContrastiveTracker(**kwargs)


# ---- selection ----


def test_select_threshold_and_order():
    scores = torch.tensor([[0.2, 0.], [0.1, 0.05], [0., 0.9], [0.3, 0.4]])
    boxes = torch.tensor([[0.1, 0.1, 0.1, 0.1]]).repeat(4, 1)
    boxes[:, 0] = torch.tensor([0.1, 0.3, 0.5, 0.7])
    inds = ContrastiveTracker().select(scores, boxes)
    assert inds.tolist() == [2, 3, 0]  # 0.1 is not above 0.1


def test_select_keeps_single_best():
    scores = torch.tensor([[0.01, 0.02], [0.03, 0.], [0.01, 0.01]])
    inds = ContrastiveTracker().select(scores, torch.rand(3, 4))
    assert inds.tolist() == [1]
    none = ContrastiveTracker().select(torch.ones(0, 2), torch.ones(0, 4))
    assert none.shape == (0, ) and none.dtype == torch.long


def test_select_box_nms_is_class_wise():
    # IoU of the first two boxes is 0.95, of the first and third 0.85; the
    # second suppressed box must not suppress in turn
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.19],
                          [0.5, 0.5, 0.2, 0.17], [0.5, 0.5, 0.2, 0.2]])
    scores = torch.tensor([[0.9, 0.], [0.8, 0.], [0.7, 0.], [0., 0.6]])
    assert ContrastiveTracker().select(scores, boxes).tolist() == [0, 2, 3]
    tracker = ContrastiveTracker(box_nms_thr=0.8)
    assert tracker.select(scores, boxes).tolist() == [0, 3]


def test_select_tiny_boxes():
    boxes = torch.tensor([[0.5, 0.5, 1e-4, 1e-4]]).repeat(2, 1)
    inds = ContrastiveTracker().select(torch.tensor([[0.9], [0.8]]), boxes)
    assert inds.tolist() == [0]


def test_select_errors():
    tracker = ContrastiveTracker()
    with pytest.raises(ValueError, match='num_queries, 4'):
        tracker.select(torch.ones(3, 2), torch.ones(2, 4))
    bad = torch.tensor([[0.5], [math.nan]])
    with pytest.raises(ValueError, match='cls_scores must be finite, got 1'):
        tracker.select(bad, torch.ones(2, 4))
    with pytest.raises(ValueError, match='boxes must be finite'):
        tracker.select(torch.ones(2, 1), bad.expand(2, 4))


# ---- births, matching ----


def test_births():
    tracker = ContrastiveTracker(init_score_thr=0.2, new_score_thr=0.3)
    # empty memory: above init_score_thr
    results = tracker.track(frame([0, 1, 2], [0.9, 0.25, 0.2]), 0)
    assert ids_of(results) == [0, 1]
    assert results.query_inds.tolist() == [0, 1]
    # later: unmatched above new_score_thr; known tracks need no score
    results = tracker.track(
        frame([3, 0, 4, 1], [0.9, 0.5, 0.3, 0.01]), frame_id=1)
    assert ids_of(results) == [2, 0, 1]
    assert tracker.live_ids == [0, 1, 2]


def test_memory_empty_again_uses_init_threshold():
    tracker = ContrastiveTracker(
        init_score_thr=0.2, new_score_thr=0.8, num_frames_retain=2)
    assert ids_of(tracker.track(frame([0], [0.5]), 0)) == [0]
    for frame_id in (1, 2):
        assert ids_of(tracker.track(frame([0][:0], []), frame_id)) == []
    assert tracker.live_ids == []
    assert ids_of(tracker.track(frame([0], [0.5]), 3)) == [1]


def test_category_is_not_checked():
    tracker = ContrastiveTracker()
    tracker.track(frame([0, 1], [0.9, 0.8], labels=[0, 1]), 0)
    results = tracker.track(frame([0, 1], [0.9, 0.8], labels=[1, 0]), 1)
    assert ids_of(results) == [0, 1]
    assert results.labels.tolist() == [1, 0]


def test_greedy_by_score_one_id_per_frame():
    tracker = ContrastiveTracker()
    tracker.track(frame([0, 1], [0.9, 0.8]), 0)
    results = tracker.track(
        frame([0, 0, 1], [0.9, 0.8, 0.7], pixels=[0, 1, 2]), 1)
    # both copies are similar to track 0; the better-scored one takes it
    assert ids_of(results) == [0, 2, 1]


def test_single_track_goes_to_the_best_detection():
    # IDOL: with one track the softmax over tracks is 1 for every detection
    tracker = ContrastiveTracker()
    tracker.track(frame([0], [0.9]), 0)
    dets = frame([5, 0], [0.9, 0.8])
    dets.assoc_embeds /= 100  # far apart, 0.5 is not exceeded in float32
    assert ids_of(tracker.track(dets, 1)) == [0, 1]


@pytest.mark.parametrize('frame_weight, expected', [(True, 0), (False, 1)])
def test_frame_weight_prefers_the_older_track(frame_weight, expected):
    tracker = ContrastiveTracker(frame_weight=frame_weight)
    for frame_id in range(3):
        tracker.track(frame([0], [0.9]), frame_id)
    tracker.track(frame([0, 1], [0.9, 0.8]), 3)
    detection = frame([0], [0.9])
    # one detection: softmax over detections is 1, so both tracks exceed 0.5,
    # the younger by a hair more
    detection.assoc_embeds = torch.eye(DIMS)[:1] + 1.1 * torch.eye(DIMS)[1:2]
    assert ids_of(tracker.track(detection, 4)) == [expected]


def test_match_threshold():
    for thr, expected in ((0.5, [0]), (1.0, [2])):
        tracker = ContrastiveTracker(match_score_thr=thr, frame_weight=False)
        tracker.track(frame([0, 1], [0.9, 0.8]), 0)
        detection = frame([0], [0.9])
        detection.assoc_embeds /= 100  # softmax over tracks (0.73, 0.27)
        assert ids_of(tracker.track(detection, 1)) == expected


# ---- mask NMS, backdrops ----


def test_mask_nms_ignores_class_and_ends_at_threshold():
    # the second mask covers 3 of the first one's 5 pixels, IoU 0.6
    dets = frame([0, 1, 2], [0.9, 0.8, 0.7], [
        slice(0, 5), slice(0, 3), slice(10, 12)
    ], labels=[0, 1, 2])  # yapf: disable
    for thr, expected in ((0.5, [0, -3, 1]), (0.7, [0, 1, 2])):
        tracker = ContrastiveTracker(mask_nms_thr=thr)
        tracker.track(dets, 0)
        assert tracker.last_assignment.tolist() == expected


def test_suppressed_mask_does_not_suppress():
    # chain: 1 overlaps 0 and 2 overlaps 1, but 2 does not overlap 0 enough
    tracker = ContrastiveTracker(mask_nms_thr=0.4)
    dets = frame([0, 1, 2], [0.9, 0.8, 0.7], [
        slice(0, 6), slice(2, 8), slice(4, 10)
    ])  # yapf: disable
    tracker.track(dets, 0)
    assert tracker.last_assignment.tolist() == [0, -3, 1]


def test_backdrops():
    # unmatched: apart from better ones -> -1; overlapping one -> -2, also if
    # it overlaps a backdrop
    tracker = ContrastiveTracker(backdrop_iou_thr=0.05)
    dets = frame([0, 1, 2, 3], [0.9, 0.15, 0.14, 0.13], [
        slice(0, 6), slice(10, 12), slice(5, 9), slice(11, 15)
    ])  # yapf: disable
    results = tracker.track(dets, 0)
    assert tracker.last_assignment.tolist() == [0, -1, -2, -2]
    assert ids_of(results) == [0] and tracker.live_ids == [0]


def test_empty_masks_count_as_identical():
    tracker = ContrastiveTracker()
    dets = frame([0, 1], [0.9, 0.8])
    dets.masks[:] = False
    tracker.track(dets, 0)
    assert tracker.last_assignment.tolist() == [0, -3]


# ---- memory ----


def _embed(value, score=0.5):
    """One detection with a 1-dim embedding."""
    return InstanceData(
        scores=torch.tensor([score]),
        masks=torch.ones(1, 2, 2, dtype=torch.bool),
        assoc_embeds=torch.tensor([[float(value)]]))


def test_window_memory_by_hand():
    tracker = ContrastiveTracker(memory_len=3)
    for frame_id, (value, score) in enumerate([(100, 0.9), (1, 0.5), (2, 0.4),
                                               (4, 0.3)]):
        tracker.track(_embed(value, score), frame_id)
    # weights score + j / 3: 0.5 + 1/3, 0.4 + 2/3, 0.3 + 1
    weights = torch.tensor([0.5 + 1 / 3, 0.4 + 2 / 3, 1.3])
    expected = (weights * torch.tensor([1., 2., 4.])).sum() / weights.sum()
    assert_close(tracker.memory_embeds, expected.view(1, 1))


def test_window_memory_without_recency():
    tracker = ContrastiveTracker(recency_weight=False)
    tracker.track(_embed(1, 0.3), 0)
    tracker.track(_embed(4, 0.6), 1)
    assert_close(tracker.memory_embeds, torch.tensor([[3.]]))


def test_momentum_memory():
    tracker = ContrastiveTracker(memory_type='momentum', memory_momentum=0.75)
    tracker.track(_embed(1), 0)
    tracker.track(_embed(5), 1)
    assert_close(tracker.memory_embeds, torch.tensor([[4.]]))
    tracker.track(_embed(0), 2)
    assert_close(tracker.memory_embeds, torch.tensor([[1.]]))


def test_similarity_memory():
    tracker = ContrastiveTracker(memory_type='similarity')
    embeds = torch.tensor([[1., 0.], [1., 1.], [-1., 0.], [0., 2.]])
    memories = []
    for frame_id, embed in enumerate(embeds):
        dets = _embed(0)
        dets.assoc_embeds = embed[None]
        tracker.track(dets, frame_id)
        memories.append(tracker.memory_embeds[0])
    half = math.sqrt(0.5)
    # cosine sqrt(1/2); then negative, so kept; then the mean cosine to the
    # stored (1, 0), (1, 1), (-1, 0) is sqrt(1/2) / 3
    assert_close(memories[1], torch.tensor([1., half]))
    assert_close(memories[2], memories[1])
    rate = half / 3
    expected = (1 - rate) * memories[1] + rate * embeds[3]
    assert_close(memories[3], expected)


# ---- forgetting, noise ----


@pytest.mark.parametrize('num_missed, expected', [(9, 1), (10, 2)])
@pytest.mark.parametrize('others', [[], [0]])
def test_absent_track_is_recovered_or_forgotten(num_missed, expected, others):
    """With other objects, without any detection, or with frames left out."""
    tracker = ContrastiveTracker(min_track_frames=1)
    tracker.track(frame([0, 1], [0.9, 0.8]), 0)
    for frame_id in range(1, num_missed + 1):
        tracker.track(frame(others, [0.9] * len(others)), frame_id)
    results = tracker.track(frame([1, 0], [0.9, 0.8]), num_missed + 1)
    # forgotten together, both start anew
    assert ids_of(results) == ([expected, 0]
                               if others or num_missed == 9 else [2, 3])


@pytest.mark.parametrize('gap, expected', [(10, 0), (11, 1)])
def test_frame_ids_with_gaps_age_tracks(gap, expected):
    tracker = ContrastiveTracker()
    tracker.track(frame([0], [0.9]), 0)
    assert ids_of(tracker.track(frame([0], [0.9]), gap)) == [expected]


def _replay_noise(tracker, seen, num_frames):
    """Object 0 in all frames, object 1 in `seen`; discards by frame."""
    discards = {}
    for frame_id in range(num_frames):
        objects = [0, 1] if frame_id in seen else [0]
        tracker.track(frame(objects, [0.9, 0.8][:len(objects)]), frame_id)
        if tracker.discarded_ids:
            discards[frame_id] = tracker.discarded_ids
    return discards


def test_noise_is_discarded_from_frame_nine():
    tracker = ContrastiveTracker()
    assert _replay_noise(tracker, {1, 2}, 20) == {9: [1]}
    assert _replay_noise_fresh({11}) == {13: [1]}
    assert _replay_noise_fresh({11, 12}) == {14: [1]}
    assert _replay_noise_fresh({1, 2, 3}) == {}  # long enough
    assert _replay_noise_fresh({11, 13, 15}) == {}  # never missed twice


def _replay_noise_fresh(seen, **kwargs):
    return _replay_noise(ContrastiveTracker(**kwargs), seen, 20)


def test_discarded_track_counts_anew_when_it_returns():
    # discarded at 13, back at 15 (same id) for one frame, discarded again
    assert _replay_noise_fresh({11, 15}) == {13: [1], 17: [1]}
    # two frames, discarded, two more: still noise although seen four times
    discards = _replay_noise_fresh({10, 11, 14, 15})
    assert discards == {13: [1], 17: [1]}
    assert _replay_noise_fresh({10, 11, 14, 15, 16}) == {13: [1]}


def test_noise_arguments():
    assert _replay_noise_fresh({1, 2}, min_track_frames=1) == {}
    assert _replay_noise_fresh({1, 2}, min_track_frames=2) == {}
    assert _replay_noise_fresh({1, 2}, noise_start_frame=0) == {4: [1]}
    assert _replay_noise_fresh({11}, noise_missed_frames=4) == {15: [1]}
    # a short track forgotten before noise is judged is still discarded
    assert _replay_noise_fresh({1}, num_frames_retain=2) == {9: [1]}
    assert _replay_noise_fresh({11}, num_frames_retain=1) == {13: [1]}


# ---- streams, state, errors ----


def _random_frame(generator, num_dets=4, dims=DIMS):
    scores = torch.rand(num_dets, generator=generator)
    return InstanceData(
        scores=scores.sort(descending=True)[0],
        masks=torch.rand(num_dets, HEIGHT, WIDTH, generator=generator) > 0.6,
        assoc_embeds=torch.randn(num_dets, dims, generator=generator))


@pytest.mark.parametrize('memory_type', ['window', 'momentum', 'similarity'])
def test_state_continues_exactly(memory_type):
    kwargs = dict(memory_type=memory_type, num_frames_retain=5)
    generator = torch.Generator().manual_seed(0)
    frames = [_random_frame(generator) for _ in range(40)]
    whole = ContrastiveTracker(**kwargs)
    first, second = ContrastiveTracker(**kwargs), ContrastiveTracker(**kwargs)
    expected = [(ids_of(whole.track(dets, i)), whole.discarded_ids)
                for i, dets in enumerate(frames)]
    results = [(ids_of(first.track(dets, i)), first.discarded_ids)
               for i, dets in enumerate(frames[:7])]
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    results += [(ids_of(second.track(dets, i)), second.discarded_ids)
                for i, dets in enumerate(frames[7:], 7)]
    assert results == expected
    assert any(discarded for _, discarded in expected)


def test_state_is_independent_of_the_tracker():
    tracker = ContrastiveTracker()
    tracker.track(frame([0], [0.9]), 0)
    state = tracker.state_dict()
    before = state['tracks']['memory'].clone()
    tracker.track(frame([1], [0.9]), 1)
    assert_close(state['tracks']['memory'], before)
    other = ContrastiveTracker()
    other.load_state_dict(state)
    other.track(frame([1], [0.9]), 1)
    assert_close(state['tracks']['memory'], before)


def test_load_errors_leave_tracker_unchanged():
    tracker = ContrastiveTracker()
    tracker.track(frame([0], [0.9]), 0)
    small = ContrastiveTracker(embed_dims=3).state_dict()
    with pytest.raises(ValueError, match='embed_dims 8, got 3'):
        tracker.load_state_dict(small)
    long = ContrastiveTracker(memory_len=10).state_dict()
    with pytest.raises(ValueError, match='memory_len 3, got 10'):
        tracker.load_state_dict(long)
    state = tracker.state_dict()
    del state['next_id']
    with pytest.raises(ValueError, match="difference in .'next_id'"):
        tracker.load_state_dict(state)
    assert tracker.live_ids == [0]
    fresh = ContrastiveTracker()
    fresh.load_state_dict(tracker.state_dict())
    dets = frame([0], [0.9])
    dets.assoc_embeds = dets.assoc_embeds[:, :5]
    with pytest.raises(ValueError, match='must have 8 dimensions, got 5'):
        fresh.track(dets, 1)


@pytest.mark.parametrize('num_detections', [0, 2])
def test_used_tracker_takes_the_state_of_a_new_one(num_detections):
    """A state from before the first frame knows no embedding size yet."""
    tracker = ContrastiveTracker()
    tracker.track(frame([0, 1], [0.9, 0.8]), 5)
    tracker.load_state_dict(ContrastiveTracker().state_dict())
    assert tracker.live_ids == [] and tracker.embed_dims == DIMS
    objects = [2, 3][:num_detections]
    results = tracker.track(frame(objects, [0.9, 0.8][:num_detections]), 0)
    assert ids_of(results) == [0, 1][:num_detections]
    assert ids_of(tracker.track(frame([3], [0.9]), 1)) == [num_detections // 2]


def test_reset_starts_a_new_video():
    generator = torch.Generator().manual_seed(0)
    frames = [_random_frame(generator) for _ in range(12)]
    tracker = ContrastiveTracker()
    runs = []
    for _ in range(2):
        tracker.reset()
        runs.append(
            [ids_of(tracker.track(d, i)) for i, d in enumerate(frames)])
    assert runs[0] == runs[1]
    tracker.reset()
    tracker.track(frame([0], [0.9])[:0], 0)  # other mask size is fine now
    assert tracker.live_ids == [] and tracker.discarded_ids == []


def test_no_detections():
    tracker = ContrastiveTracker()
    for frame_id in (0, 1):
        results = tracker.track(frame([], []), frame_id)
        assert results.instances_id.shape == (0, )
        assert results.instances_id.dtype == torch.long
    assert tracker.last_assignment.shape == (0, )


def test_input_is_not_modified():
    tracker = ContrastiveTracker()
    dets = frame([0, 1], [0.9, 0.1])
    before = dets.clone()
    tracker.track(dets, 0)
    tracker.track(dets, 1)
    assert 'instances_id' not in dets
    for name, value in before.items():
        assert_close(dets[name], value)


def test_bad_frames():
    tracker = ContrastiveTracker()
    tracker.track(frame([0], [0.9]), 3)
    for frame_id in (3, 2):
        with pytest.raises(ValueError, match=f'got {frame_id} after 3'):
            tracker.track(frame([0], [0.9]), frame_id)
    bad = frame([0], [0.9])
    bad.scores[0] = math.nan
    with pytest.raises(ValueError, match='scores must be finite, got 1'):
        tracker.track(bad, 4)
    bad = frame([0], [0.9])
    bad.assoc_embeds[0, 2] = math.nan
    with pytest.raises(ValueError, match='assoc_embeds must be finite, got 1'):
        tracker.track(bad, 4)
    bad = frame([0], [0.9])
    bad.assoc_embeds[0, :3] = math.inf
    with pytest.raises(ValueError, match='assoc_embeds must be finite, got 3'):
        tracker.track(bad, 4)
    bad = frame([0], [0.9])
    bad.masks = torch.ones(1, HEIGHT, WIDTH + 1, dtype=torch.bool)
    with pytest.raises(ValueError, match=r'got \(4, 7\) at frame 4'):
        tracker.track(bad, 4)
    bad = frame([0], [0.9])
    bad.masks = bad.masks.float()
    with pytest.raises(ValueError, match='masks must be bool'):
        tracker.track(bad, 4)
    with pytest.raises(ValueError, match='descending score'):
        tracker.track(frame([0, 1], [0.8, 0.9]), 4)
    bad = frame([0], [0.9])
    del bad.masks
    with pytest.raises(ValueError, match='got no masks'):
        tracker.track(bad, 4)
    bad = frame([0], [0.9])
    bad.assoc_embeds = bad.assoc_embeds[:, :4]
    with pytest.raises(ValueError, match='must have 8 dimensions, got 4'):
        tracker.track(bad, 4)
    # none of these changed the state
    assert ids_of(tracker.track(frame([0], [0.9]), 4)) == [0]


def test_one_object_only():
    """A video with a single object, unseen in every other frame."""
    tracker = ContrastiveTracker()
    for frame_id in range(40):
        objects = [0] if frame_id % 2 == 0 else []
        results = tracker.track(frame(objects, [0.9] * len(objects)), frame_id)
        assert ids_of(results) == objects
    assert tracker.live_ids == [0] and tracker.discarded_ids == []


def test_thirty_detections_and_fifty_tracks_are_fast(one_thread):
    """3 ms a frame are wanted on one core; three times that fails."""
    generator = torch.Generator().manual_seed(0)
    objects = torch.randn(50, 256, generator=generator)
    tracker = ContrastiveTracker(num_frames_retain=1000, min_track_frames=1)
    times = []
    for frame_id in range(40):
        rows = torch.randperm(50, generator=generator)[:30]
        masks = torch.zeros(50, 120, 160, dtype=torch.bool)
        masks.view(50, 50, -1)[range(50), range(50)] = True  # disjoint
        dets = InstanceData(
            scores=torch.full((30, ), 0.5),
            masks=masks[rows],
            assoc_embeds=objects[rows])
        start = time.thread_time()
        results = tracker.track(dets, frame_id)
        times.append(time.thread_time() - start)
        assert len(results) == 30
    assert len(tracker.live_ids) == 50
    assert min(times[20:]) < 0.009


def _state_size(tracker):
    file = io.BytesIO()
    torch.save(tracker.state_dict(), file)
    return file.tell()


@pytest.mark.slow
def test_state_is_constant_over_ten_thousand_frames(one_thread):
    """Three objects at a time, one replaced by a new one every 20 frames."""
    tracker = ContrastiveTracker()
    generator = torch.Generator().manual_seed(0)
    scores, masks = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, 1, 3)
    masks[range(3), 0, range(3)] = 1
    sizes, live = set(), []
    embeds = torch.eye(4)[:3]
    for frame_id in range(10000):
        if frame_id % 20 == 0:
            axis = torch.randperm(4, generator=generator)
            embeds = 10 * torch.eye(4)[axis[:3]]
        dets = InstanceData(
            scores=scores, masks=masks > 0, assoc_embeds=embeds)
        tracker.track(dets, frame_id)
        if frame_id % 1000 == 999:
            sizes.add(_state_size(tracker))
            live.append(len(tracker.live_ids))
    assert len(sizes) == 1 and set(live) <= {3, 4}
