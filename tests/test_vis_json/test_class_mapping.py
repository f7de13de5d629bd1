# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Classes found under other names."""
import pytest
from mmdet.datasets import CocoDataset

from refinevis_mm.vis_json.class_mapping import (check_class_names,
                                                 class_sources)
from refinevis_mm.vis_json.class_names import PRESETS

COCO = CocoDataset.METAINFO['classes']


def _names(target, source):
    found = class_sources(target, source)
    return {
        name: [source[i] for i in items]
        for name, items in zip(target, found) if items
    }


def test_coco_to_ovis():
    found = _names(PRESETS['ovis'], COCO)
    assert found['Vehical'] == ['car', 'truck', 'bus']
    assert found['Person'] == ['person'] and found['Bicycle'] == ['bicycle']
    assert set(PRESETS['ovis']) - set(found) == {
        'Poultry', 'Giant_panda', 'Lizard', 'Parrot', 'Monkey', 'Rabbit',
        'Tiger', 'Fish', 'Turtle'
    }


def test_coco_to_youtube_vis():
    found = _names(PRESETS['youtube_vis_2019'], COCO)
    assert found['sedan'] == ['car'] and found['motorbike'] == ['motorcycle']
    assert found['tennis_racket'] == ['tennis racket']
    assert found['truck'] == ['truck']
    assert 'mouse' not in found  # COCO's is a device
    assert len(found) == 19
    found = _names(PRESETS['youtube_vis_2021'], COCO)
    assert found['flying_disc'] == ['frisbee'] and found['car'] == ['car']


def test_2019_to_2021():
    found = _names(PRESETS['youtube_vis_2021'], PRESETS['youtube_vis_2019'])
    assert found['bird'] == ['eagle', 'owl']
    assert found['monkey'] == ['monkey', 'ape']
    assert found['mouse'] == ['mouse'] and found['parrot'] == ['parrot']
    assert 'whale' not in found


def test_a_class_of_its_own_is_not_covered_by_another():
    assert class_sources(['Vehicle', 'truck'],
                         ['bus', 'truck', 'car']) == [[2, 0], [1]]
    assert class_sources(['cat'], ['dog']) == [[]]


def test_class_names():
    assert check_class_names(('cat', 'dog')) == ['cat', 'dog']


@pytest.mark.parametrize('classes', [{'cat', 'dog'}, {'cat': 0}, [1, 2], ()])
def test_what_has_no_order_or_names(classes):
    with pytest.raises(ValueError, match='x must be a list of names, got '):
        check_class_names(classes, 'x')
