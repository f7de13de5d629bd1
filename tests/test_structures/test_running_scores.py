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
    dict(average='scores', sums={1: [0.5]}),
    dict(average='scores', sums={1: [0.5]}, counts={}),
    dict(
        average='scores',
        sums={
            1: [0.5],
            2: [0.5, 0.5]
        },
        counts={
            1: 1,
            2: 1
        }),
    dict(average='scores', sums={1: ['a']}, counts={1: 1}),
    dict(average='scores', sums={1: [0.5]}, counts={1: True}),
    dict(average='scores', sums=[], counts={}),
    dict(average='max', sums={1: [0.5]}, counts={1: 1})
])  # yapf: disable
def test_other_states_are_refused(state):
    scores = RunningScores()
    with pytest.raises(ValueError, match='the state of the class scores'):
        scores.load_state_dict(state)
    assert scores.ids == []


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def test_logits_are_averaged_before_the_softmax():
    logits = np.random.RandomState(0).normal(0, 3, (5, 2, 4))
    scores, float32 = RunningScores('logits'), softmax(logits)[..., :-1]
    for frame in float32.astype(np.float32).astype(float):
        scores.add([7, 1], frame, [True, True])
    for row, instance_id in enumerate((7, 1)):
        expected = softmax(logits[:, row].mean(0))[:-1]
        assert np.allclose(scores.mean(instance_id), expected, atol=1e-6)


def test_two_frames_by_hand():
    """(1/2, 1/4 | 1/4) and (1/8, 1/4 | 5/8): geometric means are 1/4, 1/4
    and sqrt(5/32)."""
    scores = RunningScores('logits')
    scores.add([0], np.array([[1 / 2, 1 / 4]]), [True])
    scores.add([0], np.array([[1., 0.]]), [False])
    scores.add([0], np.array([[1 / 8, 1 / 4]]), [True])
    total = 1 / 2 + (5 / 32)**0.5
    assert np.allclose(scores.mean(0), [1 / 4 / total, 1 / 4 / total])
    scores.add([3], np.array([[0.5, 0.5]]), [False])
    assert scores.mean(3).tolist() == [0., 0.]  # no frame counted yet


def test_certain_scores_stay_finite():
    scores = RunningScores('logits')
    for _ in range(3):
        scores.add([0], np.array([[1., 0.]]), [True])
    assert np.allclose(scores.mean(0), [1., 0.], atol=1e-6)
    scores.add([0], np.array([[0., 1.]]), [True])
    assert np.isfinite(scores.mean(0)).all()


def test_logits_need_a_softmax():
    with pytest.raises(ValueError, match='add up to 1.5'):
        RunningScores('logits').add([0], np.array([[0.9, 0.6]]), [True])
    with pytest.raises(ValueError, match="'logits'.*got 'median'"):
        RunningScores('median')


def test_state_of_logits():
    first, second = RunningScores('logits'), RunningScores('logits')
    first.add([4], np.array([[0.5, 0.25]]), [True])
    second.load_state_dict(first.state_dict())
    assert np.array_equal(first.mean(4), second.mean(4))
    plain = RunningScores()
    with pytest.raises(ValueError, match='must be averages of scores'):
        plain.load_state_dict(first.state_dict())
    plain.add([4], np.array([[0.5, 0.25]]), [True])
    with pytest.raises(ValueError, match='must be averages of logits'):
        second.load_state_dict(plain.state_dict())


def test_highest_scores():
    scores = RunningScores('max')
    scores.add([4], np.array([[0.5, 0.2]]), [True])
    scores.add([4], np.array([[0.9, 0.9]]), [False])
    scores.add([4], np.array([[0.1, 0.3]]), [True])
    assert scores.mean(4).tolist() == [0.5, 0.3]
    other = RunningScores('max')
    other.load_state_dict(scores.state_dict())
    other.add([4], np.array([[0.6, 0.1]]), [True])
    assert other.mean(4).tolist() == [0.6, 0.3]
    assert scores.mean(4).tolist() == [0.5, 0.3]


@pytest.mark.parametrize('average, expected', [('scores', [0.4, 0.3]),
                                               ('max', [0.6, 0.5])])
def test_merged_scores_count_for_one(average, expected):
    """Three frames of two instances, by hand."""
    running = RunningScores(average)
    running.add([2, 4], np.array([[0.6, 0.], [0.4, 0.4]]), [True, True])
    running.add([4], np.array([[0.2, 0.5]]), [True])
    running.add([7], np.array([[0.9, 0.9]]), [True])
    running.merge({4: 2, 8: 7, 3: 1})
    assert running.ids == [2, 7]
    np.testing.assert_allclose(running.mean(2), expected)
    np.testing.assert_allclose(running.mean(7), [0.9, 0.9])


def test_merged_logits_are_those_of_one_instance():
    scores = np.random.default_rng(0).random((3, 1, 2)) / 3
    apart, together = RunningScores('logits'), RunningScores('logits')
    for track_id, row in zip((0, 1, 0), scores):
        apart.add([track_id], row, [True])
        together.add([0], row, [True])
    apart.merge({1: 0})
    np.testing.assert_allclose(apart.mean(0), together.mean(0))
