# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""J and F by hand, and as davis2017-evaluation gives them."""
import math
import os
from pathlib import Path

import numpy as np
import pytest

from refinevis_mm.evaluation import evaluate_davis
from refinevis_mm.evaluation.davis_eval import (TASKS, boundary_of, decay,
                                                disk, frame_scores,
                                                sequence_scores,
                                                summarise_davis)
from refinevis_mm.vis_json import load_json
from tests.test_evaluation.test_tracking_eval import ground_truth, result

CASES = Path(__file__).parents[1] / 'data' / 'metric'
RECORDED = [
    path for folder in (CASES, os.environ.get('REFINEVIS_METRIC_DIR', CASES))
    for path in sorted(Path(folder).rglob('davis.json*'))
]
RUNS = [
    pytest.param(path, task, id=f'{path.parent.name}-{task}')
    for path in dict.fromkeys(RECORDED) for task in TASKS
]
NAMES = {
    'J&F-Mean': 'j_and_f',
    'J-Mean': 'j_mean',
    'J-Recall': 'j_recall',
    'J-Decay': 'j_decay',
    'F-Mean': 'f_mean',
    'F-Recall': 'f_recall',
    'F-Decay': 'f_decay'
}


def compare(recorded, numbers):
    for key, name in NAMES.items():
        if recorded[key] is not None:  # NaN in the reference
            assert numbers[name] == pytest.approx(
                recorded[key], abs=1e-12), key


@pytest.mark.parametrize('path, task', RUNS)
def test_equals_the_reference(path, task):
    recorded = load_json(path)[task]
    maps, scores = np.load(path.parent / 'masks.npz'), {}
    for name, sequence in recorded['per_sequence'].items():
        pair = maps[f'gt/{name}'], maps[f'pred/{name}']
        if 'refused' in sequence:
            with pytest.raises(ValueError, match='must be of its'):
                sequence_scores(*pair, task)
            continue
        scores[name] = sequence_scores(*pair, task)
        assert len(scores[name].j) == sequence['num_objects']
        # the reference numbers objects by proposal: values, not names
        for name_of, values in (('J_frames', scores[name].j),
                                ('F_frames', scores[name].f)):
            expected = sorted(item[name_of] for item in sequence['objects'])
            assert np.allclose(
                sorted(values.tolist()), expected, rtol=0, atol=1e-12)
    assert sorted(scores) == sorted(recorded['sequences'])
    compare(recorded['global'], summarise_davis(scores))


@pytest.mark.parametrize('path, task', RUNS)
def test_files_in_youtube_vis_form(path, task):
    recorded = load_json(path)[task]
    files = path.parent / 'gt.json', path.parent / 'pred.json'
    if any('refused' in part for part in recorded['per_sequence'].values()):
        with pytest.raises(ValueError, match='video .* must be of its'):
            evaluate_davis(*files, task)
        return
    compare(recorded['global'], evaluate_davis(*files, task))


def test_boundary():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    assert boundary_of(mask).astype(int).tolist() == [[1, 1, 1, 1, 0],
                                                      [1, 0, 0, 1, 0],
                                                      [1, 1, 1, 1, 0],
                                                      [0, 0, 0, 0, 0]]
    assert not boundary_of(np.ones((3, 3), bool)).any()


def test_disk():
    assert disk(1).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert disk(2).sum() == 13


def test_frame_by_hand():
    """Bars of 4 x 4 on 40 x 30 pixels (radius 1), one moved by 4."""
    truth = np.zeros((30, 40), int)
    truth[10:14, 10:14] = 1
    found = np.zeros((30, 40), int)
    found[10:14, 10:14] = 2
    found[10:14, 14:18] = 1
    j, f = frame_scores(truth, found, 2, 2)
    assert math.ceil(0.008 * 50) == 1
    assert j.tolist() == [[0, 1], [0, 0]]  # the second object is empty
    assert f[0, 1] == 1 and 0 < f[0, 0] < 0.5 and f[1].tolist() == [0, 0]
    j, f = frame_scores(np.zeros((9, 9)), np.zeros((9, 9)), 1, 1)
    assert j.tolist() == f.tolist() == [[1]]


def test_decay():
    assert decay(np.array([1., 1, 0, 0, 0])) == 1
    assert decay(np.array([0.5])) == 0
    assert decay(np.linspace(1, 0, 1000)) == pytest.approx(0.75, abs=1e-2)


@pytest.mark.parametrize('change, match', [
    (dict(task='video'), "task must be one of .*, got 'video'"),
    (dict(found=np.zeros((2, 3, 4))), r'shape \(3, 3, 4\), got \(2, 3, 4\)'),
    (dict(found=np.full((3, 3, 4), 21)), 'may have 20 proposals, got 21'),
    (dict(truth=np.ones((2, 3, 4), int), found=np.ones((2, 3, 4), int),
          task=TASKS[1]), 'a frame between'),
])  # yapf: disable
def test_bad_input(change, match):
    args = dict(truth=np.ones((3, 3, 4), int), found=np.ones((3, 3, 4), int))
    with pytest.raises(ValueError, match=match):
        sequence_scores(**{**args, **change})


def test_no_object():
    nothing = np.zeros((3, 3, 4), int)
    with pytest.raises(ValueError, match='no object'):
        summarise_davis(dict(empty=sequence_scores(nothing, nothing)))


def test_objects_are_those_of_the_first_frame():
    """A late one does not count; several classes are one proposal."""
    gt = ground_truth([0, 0, 0], [None, 20, 20])
    rows = [result([0, 0, 0], 0.9 - i / 100, 1 + i % 2) for i in range(30)]
    numbers = evaluate_davis(gt, rows)
    assert numbers['num_objects'] == 1
    assert numbers['j_mean'] == numbers['f_mean'] == 1
    with pytest.raises(ValueError, match='no object in any first frame'):
        evaluate_davis(ground_truth([None, 0, 0]), rows)
