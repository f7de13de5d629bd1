# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.refinement import (OfflineRefiner, OnlineRefiner,
                                            PassThroughRefiner)
from refinevis_mm.structures import FrameTracks
from tests.tiny_tar import DIMS, tiny_tar_head


@pytest.fixture(scope='module')
def tar_head():
    return tiny_tar_head().eval()


def _video(ids_of_frames, seed=0):
    torch.manual_seed(seed)
    return [
        FrameTracks(t, {}, list(ids), torch.randn(len(ids), DIMS),
                    torch.full((len(ids), 4), t / 10),
                    torch.ones(len(ids), dtype=torch.bool),
                    torch.randn(DIMS, 2, 2))
        for t, ids in enumerate(ids_of_frames)
    ]


def _run(refiner, video):
    out = []
    for frame in video:
        out += refiner.push(frame)
    return out + refiner.flush()


def test_pass_through_returns_the_frame_itself(tar_head):
    video = _video([[1], [1, 2]])
    assert _run(PassThroughRefiner(tar_head, 0), video) == video


def test_online_follows_equation_4(tar_head):
    """Refined past embeddings are the keys of later frames."""
    video = _video([[1], [1], [1]])
    out = _run(OnlineRefiner(tar_head, 2), video)
    rows = [frame.embeds for frame in video]
    first = tar_head.refine(rows[0][None], torch.tensor([[0]]))[:, -1]
    second = tar_head.refine(
        torch.stack([first, rows[1]], 1), torch.tensor([[0, 1]]))[:, -1]
    third = tar_head.refine(
        torch.stack([second, rows[2]], 1), torch.tensor([[1, 2]]))[:, -1]
    assert_close(
        torch.cat([f.embeds for f in out]), torch.cat([first, second, third]))


def test_online_never_looks_ahead(tar_head):
    video, other = _video([[1, 2]] * 6), _video([[1, 2]] * 6)
    other[4:] = _video([[1, 2]] * 6, seed=1)[4:]
    first = _run(OnlineRefiner(tar_head, 3), video)
    second = _run(OnlineRefiner(tar_head, 3), other)
    for t in range(4):
        assert_close(first[t].embeds, second[t].embeds)
    assert not torch.allclose(first[4].embeds, second[4].embeds)


def test_online_emits_missed_frames_until_the_track_dies(tar_head):
    """Though refined embeddings of the missed frames are still there."""
    refiner = OnlineRefiner(tar_head, 3)
    out = _run(refiner, _video([[1], [1], [], [], [], []]))
    assert [frame.ids for frame in out] == [[1]] * 4 + [[]] * 2
    assert [frame.detected.tolist() for frame in out[:4]] == \
        [[True], [True], [False], [False]]
    assert out[3].embeds.all() and len(refiner.memory) == 0


def test_online_discard(tar_head):
    refiner = OnlineRefiner(tar_head, 3)
    video = _video([[1, 2], [2]])
    refiner.push(video[0])
    refiner.discard([1])
    assert refiner.push(video[1])[0].ids == [2]


def test_offline_clips_are_independent_and_ordered(tar_head):
    video = _video([[1], [], [1], [1], [2]])
    out = _run(OfflineRefiner(tar_head, 3), video)
    assert [frame.frame_id for frame in out] == list(range(5))
    assert [frame.ids for frame in out] == [[1], [1], [1], [1, 2], [1, 2]]
    embeds = torch.stack(
        [video[0].embeds[0],
         torch.zeros(DIMS), video[2].embeds[0]])[None]
    refined = tar_head.refine(embeds, torch.tensor([[0, 1, 2]]))
    assert_close(torch.cat([f.embeds for f in out[:3]]), refined[0])
    assert out[1].detected.tolist() == [False]


def test_offline_emits_as_soon_as_a_clip_is_complete(tar_head):
    refiner = OfflineRefiner(tar_head, 2)
    video = _video([[1]] * 3)
    assert refiner.push(video[0]) == []
    assert len(refiner.push(video[1])) == 2
    assert refiner.push(video[2]) == []
    assert len(refiner.flush()) == 1


def test_offline_discard_and_frames_without_tracks(tar_head):
    refiner = OfflineRefiner(tar_head, 2)
    refiner.push(_video([[1]])[0])
    refiner.discard([1])
    out = refiner.flush()
    assert [frame.ids for frame in out] == [[]]


def _held(refiner):
    """Frames and embeddings that a refiner keeps."""
    if isinstance(refiner, OfflineRefiner):
        return len(refiner._clip)
    return sum(len(entries) for entries in refiner.memory._entries.values())


@pytest.mark.parametrize('refiner_type', [OnlineRefiner, OfflineRefiner])
def test_state_is_bounded_by_the_window(tar_head, refiner_type):
    refiner, held = refiner_type(tar_head, 4), []
    for t in range(300):
        # two tracks at a time, a new one every ten frames
        frame = _video([[t // 10, t // 10 + 1]])[0]
        frame.frame_id = t
        refiner.push(frame)
        held.append(_held(refiner))
    assert max(held[30:]) == max(held[:30]) <= 3 * 4


@pytest.mark.parametrize('refiner_type',
                         [OnlineRefiner, OfflineRefiner, PassThroughRefiner])
@pytest.mark.parametrize('split', [0, 1, 2, 4, 7])
def test_continued_refiner_is_the_uninterrupted_one(refiner_type, split,
                                                    tar_head):
    video = _video([[1], [1, 2], [2], [], [2, 3], [3], [3]])
    alone = _run(refiner_type(tar_head, 3), video)
    first, second = (refiner_type(tar_head, 3) for _ in range(2))
    out = [frame for part in video[:split] for frame in first.push(part)]
    second.load_state_dict(first.state_dict(), torch.device('cpu'))
    first.push(_video([[5]])[0])  # another stream from there on
    out += _run(second, video[split:])
    assert [frame.ids for frame in out] == [frame.ids for frame in alone]
    for frame, expected in zip(out, alone):
        assert_close(frame.embeds, expected.embeds, rtol=0, atol=0)
        assert torch.equal(frame.boxes, expected.boxes)
        assert torch.equal(frame.detected, expected.detected)


@pytest.mark.parametrize('refiner_type', [OnlineRefiner, OfflineRefiner])
def test_refined_frames_know_who_met_in_the_window(refiner_type, tar_head):
    """4 and 9 share frame 0, 2 comes when 9 is gone."""
    video = _video([(4, 9), (2, 4), (2, 4), (2, )])
    done = _run(refiner_type(tar_head, 2), video)
    row = {track_id: i for i, track_id in enumerate(done[1].ids)}
    assert sorted(row) == [2, 4, 9]
    assert done[1].met[row[4], row[9]] and done[1].met[row[2], row[4]]
    assert not done[1].met[row[2], row[9]]
    assert sorted(done[2].ids) == [2, 4]  # 9 has left the window


def test_offline_waits_for_the_tracker(tar_head):
    """Clips are refined under the ids that are known `delay` frames later."""
    video = _video([[1], [1], [2], [2], [2]])
    refiner = OfflineRefiner(tar_head, 2, delay=2)
    assert [refiner.push(frame) for frame in video[:3]] == [[], [], []]
    refiner.merge({2: 1})
    out = refiner.push(video[3].renamed({2: 1}))
    assert [frame.frame_id for frame in out] == [0, 1]
    assert refiner.push(video[4].renamed({2: 1})) == []
    out += refiner.flush()
    one = _run(OfflineRefiner(tar_head, 2), _video([[1]] * 5))
    assert [frame.ids for frame in out] == [[1]] * 5
    for first, second in zip(out, one):
        assert_close(first.embeds, second.embeds)
    assert refiner.flush() == []


def test_online_merges_its_memory(tar_head):
    video = _video([[1], [], [2], [2]])
    refiner = OnlineRefiner(tar_head, 4)
    for frame in video[:3]:
        refiner.push(frame)
    refiner.merge({2: 1})
    out, = refiner.push(video[3].renamed({2: 1}))
    assert out.ids == [1] and out.detected.all()
    embeds, _, detected, padding = refiner.memory.batch()
    assert detected.tolist() == [[True, False, True, True]]
    assert embeds.shape[1] == 4 and not padding.any()
