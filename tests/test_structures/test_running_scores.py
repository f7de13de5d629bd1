# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.structures import RunningScores


def test_means_of_the_frames_that_count():
    scores = RunningScores()
    scores.add([4, 2], np.array([[0.5, 0.25], [1., 0.]]), [True, False])
    scores.add([4], np.array([[0.25, 0.75]]), [True])
    scores.add([4], np.array([[1., 1.]]), [False])
    assert scores.mean(4).tolist() == [0.375, 0.5]
    assert scores.mean(2).tolist() == [0., 0.]  # no frame counted yet
    assert scores.ids == [4, 2] and 2 in scores and 7 not in scores


def test_discarded_ids_count_anew():
    scores = RunningScores()
    scores.add([4], np.array([[1.]]), [True])
    scores.discard([4, 9])
    with pytest.raises(ValueError, match='instance 4 is not among the 0'):
        scores.mean(4)
    scores.add([4], np.array([[0.5]]), [True])
    assert scores.mean(4).tolist() == [0.5]


def test_state():
    first, second = RunningScores(), RunningScores()
    first.add([4, 2], np.array([[1 / 3, 0.25], [1., 0.]]), [True, False])
    second.load_state_dict(first.state_dict())
    for scores in (first, second):
        scores.add([4, 2], np.array([[0.1, 0.2], [0.3, 0.4]]), [True, True])
    for instance_id in (4, 2):
        assert np.array_equal(
            first.mean(instance_id), second.mean(instance_id))
    second.discard([4])
    assert 4 in first


@pytest.mark.parametrize('state', [
    dict(sums={1: [0.5]}),
    dict(sums={1: [0.5]}, counts={}),
    dict(sums={1: [0.5], 2: [0.5, 0.5]}, counts={1: 1, 2: 1}),
    dict(sums={1: ['a']}, counts={1: 1}),
    dict(sums={1: [0.5]}, counts={1: True}),
    dict(sums=[], counts={})
])  # yapf: disable
def test_other_states_are_refused(state):
    scores = RunningScores()
    with pytest.raises(ValueError, match='the state of the class scores'):
        scores.load_state_dict(state)
    assert scores.ids == []
