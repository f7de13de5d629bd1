# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch

from refinevis_mm.structures import (FrameTracks, TrackletMemory,
                                     interpolate_boxes)


def _frame(frame_id, ids, value=1.0):
    return FrameTracks(frame_id, {}, ids,
                       torch.full((len(ids), 4), float(value)),
                       torch.full((len(ids), 4), frame_id / 10),
                       torch.ones(len(ids), dtype=torch.bool),
                       torch.zeros(4, 2, 2))


def test_missed_frame_is_a_zero_row_and_birth_is_padded():
    memory = TrackletMemory(3)
    memory.push(_frame(0, [5], 1))
    memory.push(_frame(1, [], 0))
    memory.push(_frame(2, [5, 9], 3))
    embeds, frame_inds, detected, padding = memory.batch()
    assert memory.ids == [5, 9]
    assert embeds[0, :, 0].tolist() == [1, 0, 3]
    assert frame_inds[0].tolist() == [0, 1, 2]
    assert padding.tolist() == [[False] * 3, [True, True, False]]
    assert detected[:, -1].tolist() == [True, True]


def test_only_the_last_window_is_kept():
    memory = TrackletMemory(2)
    for t in range(5):
        memory.push(_frame(t, [1], t))
    embeds, frame_inds, _, _ = memory.batch()
    assert frame_inds.tolist() == [[3, 4]]
    assert embeds[0, :, 0].tolist() == [3, 4]


def test_tracklet_dies_after_a_window_of_misses_despite_write_back():
    memory = TrackletMemory(3)
    memory.push(_frame(0, [1]))
    for t in (1, 2):
        memory.push(_frame(t, []))
        memory.write_back(torch.ones(1, 4))
        assert memory.ids == [1]
        assert memory.batch()[2][:, -1].tolist() == [False]
    memory.push(_frame(3, []))
    assert len(memory) == 0


def test_missed_frames_stay_zero_in_the_memory():
    memory = TrackletMemory(3)
    memory.push(_frame(0, [1, 2], 1))
    memory.push(_frame(1, [2], 1))
    memory.write_back(torch.full((2, 4), 7.0))
    assert memory.batch()[0][:, -1, 0].tolist() == [0, 7]


def test_write_back_is_seen_by_the_next_frame():
    memory = TrackletMemory(3)
    memory.push(_frame(0, [1], 1))
    memory.write_back(torch.full((1, 4), 7.0))
    memory.push(_frame(1, [1], 2))
    assert memory.batch()[0][0, :, 0].tolist() == [7, 2]


def test_window_must_be_positive():
    with pytest.raises(ValueError, match='window must be positive, got 0'):
        TrackletMemory(0)


def test_frame_tracks_without():
    frame = _frame(0, [3, 5, 8]).without([5])
    assert frame.ids == [3, 8]
    assert frame.embeds.shape == (2, 4)


def test_boxes_of_missed_frames_are_interpolated():
    boxes = torch.tensor([0.0, 0.1, 0.0, 0.0, 0.4, 0.0]).view(1, 6, 1)
    detected = torch.tensor([[False, True, False, False, True, False]])
    frame_inds = torch.tensor([[3, 4, 5, 6, 7, 8]])
    out = interpolate_boxes(boxes.expand(-1, -1, 4), detected, frame_inds)
    expected = torch.tensor([0.1, 0.1, 0.2, 0.3, 0.4, 0.4])
    torch.testing.assert_close(out[0, :, 2], expected)
    empty = interpolate_boxes(
        boxes.new_zeros(0, 6, 4), detected[:0], frame_inds[:0])
    assert empty.shape == (0, 6, 4)


def test_online_memory_keeps_the_last_detected_box():
    memory = TrackletMemory(3)
    memory.push(_frame(0, [5]))
    memory.push(_frame(1, [5, 9]))
    memory.push(_frame(2, [9]))
    assert memory.current_boxes()[:, 0].tolist() == pytest.approx([.1, .2])


@pytest.mark.parametrize('change, match', [
    (dict(frame_inds=[0, 1]), 'as many of all, 1 to 2'),
    (dict(frame_inds=[0] * 3, detected=[True] * 3, embeds=torch.ones(
        3, 4)), 'as many of all, 1 to 2'),
    (dict(frame_inds=[], detected=[], embeds=torch.ones(0, 4)), '1 to 2'),
    (dict(box=torch.zeros(3)), 'box of the state of the tracklets'),
    (dict(embeds=torch.ones(1, 5)), r'one width, got \[4, 5\]'),
])
def test_other_states_are_refused(change, match):
    track = dict(
        frame_inds=[0],
        detected=[True],
        embeds=torch.ones(1, 4),
        box=torch.zeros(4))
    memory = TrackletMemory(2)
    memory.load_state_dict({5: track}, torch.device('cpu'))
    state = {5: track, 6: dict(track, **change)}
    with pytest.raises(ValueError, match=match):
        memory.load_state_dict(state, torch.device('cpu'))
    assert memory.ids == [5]


def test_merged_tracklets_are_one_with_all_detections():
    """The older one is missed where the younger one is detected."""

    def frame(frame_id, **embeds):
        ids = [int(name[1:]) for name in embeds]
        rows = torch.tensor([[float(value)] * 2 for value in embeds.values()])
        return FrameTracks(frame_id, {}, ids, rows.reshape(-1, 2),
                           torch.full((len(ids), 4), float(frame_id)),
                           torch.ones(len(ids), dtype=torch.bool),
                           torch.zeros(1, 1, 1))

    apart, together = TrackletMemory(4), TrackletMemory(4)
    for frame_id, (rows, alone) in enumerate((
        (dict(i0=1), dict(i0=1)),
        (dict(i0=2, i1=9), dict(i0=2, i1=9)),
        (dict(i1=8), dict(i1=8)),
        (dict(i3=3), dict(i0=3)),
        (dict(i1=7), dict(i1=7)),
    )):
        apart.push(frame(frame_id, **rows))
        together.push(frame(frame_id, **alone))
    apart.merge({3: 0, 6: 5})
    assert apart.ids == together.ids == [0, 1]
    for first, second in zip(apart.batch(), together.batch()):
        torch.testing.assert_close(first, second)
    torch.testing.assert_close(apart.current_boxes(), together.current_boxes())


def test_a_frame_after_a_merge():
    frame = FrameTracks(0, {}, [4, 2], torch.zeros(2, 3), torch.zeros(2, 4),
                        torch.ones(2, dtype=torch.bool), torch.zeros(1, 1, 1))
    assert frame.renamed({4: 1, 3: 0}).ids == [1, 2]
    assert frame.ids == [4, 2]
