# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import os

import numpy as np
import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.vis_json.validation import find_defects
from refinevis_mm.vis_json.vis_writer import VISJsonWriter, encode_counts


@pytest.mark.parametrize('start', [False, True])
def test_encode_counts_equals_pycocotools(start):
    mask = np.random.default_rng(0).random((13, 9)) < 0.4
    mask[0, 0] = start
    rle = mask_utils.frPyObjects(
        dict(size=[13, 9], counts=encode_counts(mask)), 13, 9)
    assert np.array_equal(mask_utils.decode(rle).astype(bool), mask)


def test_encode_counts_by_hand():
    # columns first: 0 1 | 1 0
    assert encode_counts(np.array([[0, 1], [1, 0]], bool)) == [1, 2, 1]
    assert encode_counts(np.ones((2, 2), bool)) == [0, 4]


CATEGORIES = [dict(id=3, name='a')]


def test_json_writer(tmp_path):
    path = tmp_path / 'a' / 'x.json'
    mask = np.zeros((2, 3), bool)
    mask[0, 1:] = True
    with VISJsonWriter(str(path), CATEGORIES, 'test') as writer:
        assert writer.add_video(['v/0.jpg', 'v/1.jpg'], 2, 3) == 1
        # an array, an empty one; a list of counts, polygons
        assert writer.add_annotation(1, 3, [mask, mask & False]) == 1
        rle = dict(size=[2, 3], counts=[0, 6])
        assert writer.add_annotation(1, 3, [rle, [[0, 0, 2, 0, 2, 1, 0, 1]]],
                                     1) == 2
        assert not path.exists()
    assert os.listdir(path.parent) == ['x.json']
    content = json.loads(path.read_text())
    assert content['categories'] == CATEGORIES
    assert content['videos'] == [
        dict(
            id=1,
            width=3,
            height=2,
            length=2,
            file_names=['v/0.jpg', 'v/1.jpg'])
    ]
    first, second = content['annotations']
    assert first['areas'] == [2, None] and first['iscrowd'] == 0
    assert first['bboxes'] == [[1, 0, 2, 1], None]
    assert np.array_equal(
        mask_utils.decode(first['segmentations'][0]).astype(bool), mask)
    assert second['areas'] == [6, 2] and second['iscrowd'] == 1
    assert {defect.code
            for defect in find_defects(content)} == {'category-ids'}


def test_json_writer_is_atomic(tmp_path):
    path = str(tmp_path / 'x.json')
    with pytest.raises(ValueError, match='frame 1: mask size is'):
        with VISJsonWriter(path, CATEGORIES, 'test') as writer:
            writer.add_video(['0.jpg', '1.jpg'], 2, 3)
            writer.add_annotation(1, 3, [None, np.ones((3, 2), bool)])
    assert os.listdir(tmp_path) == []
    for force in (False, True):  # nothing, then over it
        with VISJsonWriter(path, CATEGORIES, 'test', force) as writer:
            writer.add_video(['0.jpg'], 2, 3)
            writer.add_annotation(1, 3, [np.ones((2, 3), bool)])
    with pytest.raises(FileExistsError, match='--force'):
        VISJsonWriter(path, CATEGORIES, 'test')
    with pytest.raises(ValueError, match='must end in .json'):
        VISJsonWriter(str(tmp_path / 'x.txt'), CATEGORIES, 'test')


@pytest.mark.parametrize('number, reason', [
    (0, 'nothing was converted: there is no object in the 1 videos'),
    (2, 'x.json: all annotations are crowds, .*--crowds-as-objects'),
])
def test_json_without_objects(number, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        with VISJsonWriter(str(tmp_path / 'x.json'), [], 'test') as writer:
            writer.add_video(['0.jpg'], 2, 3)
            for _ in range(number):
                writer.add_annotation(1, 3, [np.ones((2, 3), bool)], 1)
    assert os.listdir(tmp_path) == []


def test_summary(tmp_path):
    with VISJsonWriter(str(tmp_path / 'x.json'), [], 'test') as writer:
        writer.add_video(['0.jpg'], 2, 3)
        writer.add_annotation(1, 3, [np.ones((2, 3), bool)])
        assert writer.summary == '1 videos, 1 objects'
        writer.add_annotation(1, 3, [np.ones((2, 3), bool)], 1)
        assert writer.summary == '1 videos, 1 objects and 1 crowds'
