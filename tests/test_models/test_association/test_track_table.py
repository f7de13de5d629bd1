# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import io

import pytest
import torch

from refinevis_mm.models.association.track_table import TrackTable


def seen(*frames):
    """A table that has seen these ids in frame 0, 1, ..."""
    table = TrackTable(dict(place=(2, ), look=(3, 4)))
    for frame_id, ids in enumerate(frames):
        see(table, frame_id, *ids)
    return table


def see(table, frame_id, *ids):
    return table.see(torch.tensor(ids, dtype=torch.long), frame_id)


def counts(table):
    """Id, last frame, frames seen and frames that count of every track."""
    return list(
        zip(*(value.tolist()
              for value in (table.ids, table.last_seen, table.num_seen,
                            table.num_results))))


def reload(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_new_table():
    table = TrackTable(dict(place=(2, )))
    assert len(table) == 0 and table.forgotten == []
    assert table.values['place'].shape == (0, 2)
    assert see(table, 0).tolist() == []
    assert table.judge_noise(9, 1, 3) == []


def test_frames_are_counted_and_ids_stay_in_order():
    table = seen([1, 0])
    # the rows belong to the ids in the order that was asked for
    assert see(table, 4, 3, 0, 2).tolist() == [3, 0, 2]
    assert counts(table) == [(0, 4, 2, 2), (1, 0, 1, 1), (2, 4, 1, 1),
                             (3, 4, 1, 1)]


def test_values_of_births_are_zero_and_others_stay():
    table = seen([0])
    table.values['place'] += 5
    rows = see(table, 1, 1, 0)
    assert table.values['place'].tolist() == [[5, 5], [0, 0]]
    assert table.values['look'].shape == (2, 3, 4)
    table.values['place'][rows] = torch.tensor([[1., 1.], [2., 2.]])
    assert table.values['place'].tolist() == [[2, 2], [1, 1]]


@pytest.mark.parametrize('num_missed, left', [(1, []), (2, [1]), (3, [0, 1])])
def test_forget(num_missed, left):
    table = seen([0], [1])
    table.values['place'] += table.ids[:, None]
    table.forget(2, num_missed, min_frames=1)
    assert table.ids.tolist() == left and table.forgotten == []
    assert table.values['place'][:, 0].tolist() == left
    # ids are not given again to what comes next
    see(table, 3, 2)
    assert table.ids.tolist() == [*left, 2]


@pytest.mark.parametrize('max_tracks, left', [(4, [0, 1, 2, 3]),
                                              (3, [0, 2, 3]), (2, [0, 3]),
                                              (1, [3])])
def test_those_unseen_for_longest_go_first(max_tracks, left):
    """Of equals the older birth goes: 1 was seen in 1, 2 in 2, both in 3."""
    table = seen([0], [1], [2], [0, 3])
    table.keep_newest(max_tracks, min_frames=1)
    assert table.ids.tolist() == left
    assert all(len(value) == len(left) for value in table.values.values())


def test_noise_is_judged_once_and_counts_anew():
    table = seen([0, 1], [0], [0])
    # 1 was missed in frames 1 and 2
    assert table.judge_noise(2, 3, min_frames=3) == []
    assert table.judge_noise(2, 2, min_frames=1) == []
    assert table.judge_noise(2, 2, min_frames=3) == [1]
    assert table.judge_noise(3, 2, min_frames=3) == []
    assert counts(table)[1] == (1, 0, 1, 0)
    see(table, 4, 1)
    assert counts(table)[1] == (1, 4, 2, 1)
    assert table.judge_noise(6, 2, min_frames=3) == [1]


def test_long_tracks_are_no_noise():
    table = seen([0], [0], [0])
    assert table.judge_noise(50, 2, min_frames=3) == []
    assert table.judge_noise(50, 2, min_frames=4) == [0]


def test_short_tracks_that_were_dropped_are_judged_later():
    table = seen([0, 1], [1], [1])
    table.forget(2, 2, min_frames=3)
    assert table.forgotten == [[0, 0]]  # id and last frame
    assert table.judge_noise(2, 3, min_frames=3) == []
    assert table.judge_noise(3, 3, min_frames=3) == [0]
    assert table.forgotten == []
    # what was judged already, or is long enough, is not kept
    table = seen([0, 1], [1], [1])
    table.judge_noise(2, 2, min_frames=3)
    table.forget(9, 2, min_frames=3)
    assert len(table) == 0 and table.forgotten == []


def test_state_is_a_copy():
    table = seen([0, 1], [1])
    state = table.state_dict()
    expected = counts(table)
    see(table, 5, 0, 1)
    table.values['place'] += 1
    other = TrackTable.from_state(reload(state), [[7, 3]])
    assert counts(other) == expected and other.forgotten == [[7, 3]]
    assert other.values['place'].tolist() == [[0, 0], [0, 0]]
    see(other, 6, 0, 2)  # goes on
    assert other.ids.tolist() == [0, 1, 2]
    same = seen([4])
    same.load_state_dict(state)
    assert counts(same) == expected


@pytest.mark.parametrize('change, message', [
    (dict(place=None), "a difference in .'place'"),
    (dict(weight=torch.zeros(2)), "a difference in .'weight'"),
    (dict(place=torch.zeros(2, 3)), r'place .* \(2, 2\), got .*\(2, 3\)'),
    (dict(num_seen=torch.zeros(3)), r'num_seen .* \(2,\), got .*\(3,\)'),
])
def test_other_states_are_refused(change, message):
    table, state = seen([0], [0]), seen([0, 1]).state_dict()
    state.update(change)
    state = {name: rows for name, rows in state.items() if rows is not None}
    with pytest.raises(ValueError, match=message):
        table.load_state_dict(state)
    assert counts(table) == [(0, 1, 2, 2)]


def test_state_without_counts_is_refused():
    state = seen([0]).state_dict()
    del state['last_seen']
    with pytest.raises(ValueError, match='got no last_seen'):
        TrackTable.from_state(state, [])


@pytest.mark.parametrize('name, value', [
    ('ids', torch.tensor([0.])),
    ('ids', torch.tensor([3, 3])),
    ('ids', 3),
    ('last_seen', torch.tensor([True])),
    ('a', torch.zeros(1, 3, dtype=torch.float64)),
    ('a', torch.zeros(1).expand(1, 3)),
])
def test_edited_states_are_refused(name, value):
    table = TrackTable(dict(a=(3, )))
    table.see(torch.tensor([5]), 0)
    state = dict(table.state_dict(), **{name: value})
    with pytest.raises(ValueError, match='of the tracks of a state'):
        TrackTable(dict(a=(3, ))).load_state_dict(state)
