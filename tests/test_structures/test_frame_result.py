# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest
import torch

from refinevis_mm.structures import (DecodedFrame, FrameInstances, FrameResult,
                                     RunningScores, class_name)
from tests.tiny_recordings import ResultStream, box


@pytest.fixture
def instances():
    """Detected, recovered and missed; 5 x 7 pixels."""
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 6] = True
    frame = DecodedFrame(0, [8, 3, 5],
                         torch.tensor([[0.25, 0.5], [1., 0.], [0.5, 0.75]]),
                         torch.tensor([True, False, False]),
                         torch.tensor([True, True, False]), masks)
    running = RunningScores()
    running.add([8], np.array([[0.75, 0.]]), [True])
    return FrameInstances.from_decoded(frame, running, ['cat'])


def test_values_by_hand(instances):
    assert len(instances) == 3 and instances.size == (5, 7)
    assert instances.ids == [8, 3, 5]
    assert instances.cls_scores.tolist() == [[0.5, 0.25], [1., 0.], [0., 0.]]
    assert instances.labels == [0, 0, 0]
    assert instances.scores == [0.5, 1., 0.]
    assert instances.classes == ['cat'] * 3
    assert instances.boxes.tolist() == [[2, 1, 6, 3], [6, 4, 7, 5],
                                        [0, 0, 0, 0]]
    assert instances.detected == [True, False, False]
    assert instances.recovered == [False, True, False]
    assert instances.missed == [False, False, True]
    assert instances.masks[2] is None
    assert instances.masks[0]['size'] == [5, 7]
    dense = instances.dense_masks()
    assert dense.sum(axis=(1, 2)).tolist() == [8, 1, 0]
    assert dense[0, 1:3, 2:6].all()


def test_select_and_without(instances):
    part = instances.select([2, 0])
    assert part.ids == [5, 8] and part.scores == [0., 0.5]
    assert part.cls_scores.tolist() == [[0., 0.], [0.5, 0.25]]
    assert instances.without([3, 9]).ids == [8, 5]
    empty = instances.without([3, 5, 8])
    assert len(empty) == 0 and empty.boxes.shape == (0, 4)
    assert empty.cls_scores.shape == (0, 2)
    assert empty.dense_masks().shape == (0, 5, 7)
    assert instances.ids == [8, 3, 5]


def test_no_instance():
    frame = DecodedFrame(0, [], torch.zeros(0, 4),
                         torch.zeros(0).bool(),
                         torch.zeros(0).bool(),
                         torch.zeros(0, 5, 7).bool())
    empty = FrameInstances.from_decoded(frame, RunningScores(), [])
    assert len(empty) == 0 and empty.size == (5, 7)
    assert empty.cls_scores.shape == (0, 4) and empty.boxes.shape == (0, 4)
    assert empty.labels == empty.classes == empty.masks == []


def test_main_view(instances):
    other = instances.without([8])
    views = dict(frame_level=other, online=instances)
    frame = FrameResult(3, 0.5, np.zeros((5, 7, 3), np.uint8), views, 'online')
    assert frame.ids == [8, 3, 5] and frame.boxes is instances.boxes
    assert frame.frame_level is other and frame.discarded_ids == []


def test_class_name():
    assert class_name(['cat'], 0) == 'cat'
    assert class_name(['cat'], 1) == 'class 1'


def test_a_state_comes_back(instances):
    again = FrameInstances.from_state(instances.state_dict())
    for name, value in vars(instances).items():
        assert np.array_equal(value, getattr(again, name)), name


@pytest.mark.parametrize('change, match', [
    (dict(ids=[7, 8]), r'as many of all as ids, got \[2, 3\]'),
    (dict(scores=['a']), 'scores of the state of a frame must be float'),
    (dict(boxes=torch.zeros(1, 5)), 'boxes of the state of a frame'),
    (dict(masks=[dict(size=[3, 4])]), "lacks 'counts'"),
    (dict(other=1), 'got 10 keys'),
])
def test_other_states_are_refused(instances, change, match):
    state = dict(instances.state_dict(), **change)
    with pytest.raises(ValueError, match=match):
        FrameInstances.from_state(state)


def test_a_frame_after_a_merge():
    """What the younger one says stays; scores are the given ones."""
    stream = ResultStream()
    frame = stream.frame(
        dict(online=[(1, [0.9, 0., 0.], False,
                      box(0)), (4, [0., 0.5, 0.], True,
                                box(2)), (5, [0., 0., 0.7], True,
                                          box(4))])).views['online']
    merged = frame.merged({
        4: 1,
        8: 7
    }, {1: np.array([0.3, 0.2, 0.4])}, ['cat', 'dog', 'owl'])
    assert (merged.ids, merged.labels, merged.classes,
            merged.scores) == ([1, 5], [2,
                                        2], ['owl',
                                             'owl'], [0.4,
                                                      pytest.approx(0.7)])
    assert merged.masks == [frame.masks[1], frame.masks[2]]
    assert merged.detected == [True, True]
    assert frame.ids == [1, 4, 5] and frame.labels == [0, 1, 2]
    chain = frame.merged({4: 0, 5: 0, 1: 0}, {}, [])
    assert chain.ids == [0] and chain.masks == [frame.masks[2]]
