# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy
import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from refinevis_mm.evaluation import evaluate_best_tracklet


def bar(left, right):
    """RLE of a mask (1, 10) filled from ``left`` to ``right``."""
    pixels = np.zeros((1, 10), dtype=np.uint8, order='F')
    pixels[:, left:right] = 1
    code = mask_utils.encode(pixels)
    return dict(size=[1, 10], counts=code['counts'].decode())


def annotation(ann_id, video_id, tube, iscrowd=0):
    """An object of class 1."""
    return dict(
        id=ann_id,
        video_id=video_id,
        category_id=1,
        iscrowd=iscrowd,
        segmentations=tube,
        areas=[1] * 4)


def result(tube, score=0.5, video_id=3, category_id=1):
    """One row of the results."""
    return dict(
        video_id=video_id,
        category_id=category_id,
        score=score,
        segmentations=tube)


OBJECT = [bar(0, 4), bar(0, 4), bar(0, 4), None]
# IoU 1, 0 and 1 / 2; the last frame has no object
HALF = [bar(0, 4), None, bar(0, 2), bar(0, 9)]
# IoU 3 / 4, 3 / 4 and 1 / 2
BEST = [bar(1, 4), bar(1, 4), bar(0, 8), None]


@pytest.fixture
def gt():
    """An object in video 3; one and a crowd in video 4."""
    return dict(
        videos=[
            dict(id=video_id, width=10, height=1, length=4)
            for video_id in (3, 4)
        ],
        categories=[dict(id=1, name='cat'),
                    dict(id=2, name='dog')],
        annotations=[
            annotation(7, 3, OBJECT),
            annotation(8, 4, OBJECT),
            annotation(9, 4, [bar(4, 10)] * 4, iscrowd=1)
        ])


def test_by_hand(gt):
    # the best one has neither the best score nor the right class
    rows = [result(HALF, 0.9), result(BEST, 0.01, category_id=2)]
    numbers = evaluate_best_tracklet(gt, rows)
    assert numbers['per_object'] == {
        7: pytest.approx(2 / 3),
        8: 0.  # nothing in this video
    }
    assert numbers['J'] == pytest.approx(1 / 3)
    numbers = evaluate_best_tracklet(gt, rows[:1])
    assert numbers['per_object'][7] == pytest.approx(1 / 2)


def test_one_tracklet_for_all_frames(gt):
    """Two halves are not put together."""
    rows = [
        result([bar(0, 4), None, None, None]),
        result([None, bar(0, 4), bar(0, 4), None]),
        result([None] * 4)
    ]
    numbers = evaluate_best_tracklet(gt, rows)
    assert numbers['per_object'][7] == pytest.approx(2 / 3)


def test_no_results_and_more_results(gt):
    assert evaluate_best_tracklet(gt, [])['J'] == 0.
    rows = [result(OBJECT), result(OBJECT, video_id=4)]
    wrong = [result([bar(5, 9)] * 4, 0.9, video_id) for video_id in (3, 4)]
    assert evaluate_best_tracklet(gt, rows + wrong)['J'] == 1.
    # two objects may share a tracklet
    gt['annotations'].append(annotation(10, 3, OBJECT))
    assert evaluate_best_tracklet(gt, rows)['J'] == 1.


def test_unknown_categories_are_dropped(gt):
    rows = [result(HALF), result(BEST, category_id=99)]
    assert evaluate_best_tracklet(gt, rows)['per_object'][7] == 0.5


def test_files_and_objects_without_a_mask(gt, tmp_path):
    gt['annotations'].append(annotation(10, 3, [None] * 4))
    rows = [result(BEST)]
    before = copy.deepcopy((gt, rows))
    expected = evaluate_best_tracklet(gt, rows)
    assert (gt, rows) == before and 10 not in expected['per_object']
    for name, content in (('gt', gt), ('rows', rows)):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    assert evaluate_best_tracklet(tmp_path / 'gt.json',
                                  tmp_path / 'rows.json') == expected


def test_bad_input(gt):
    with pytest.raises(ValueError, match='video 5: there is no such video'):
        evaluate_best_tracklet(gt, [result(BEST, video_id=5)])
    with pytest.raises(ValueError, match='one entry for each of the'):
        evaluate_best_tracklet(gt, [result(BEST[:3])])
    for ann in gt['annotations']:
        ann['iscrowd'] = 1
    with pytest.raises(ValueError, match='all annotations are crowds'):
        evaluate_best_tracklet(gt, [result(BEST)])
