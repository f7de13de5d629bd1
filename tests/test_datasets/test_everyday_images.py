# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy
import json

import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.datasets.everyday_images import (CATEGORIES, add_unlabelled,
                                                   count_objects,
                                                   licence_counts,
                                                   sort_objects, split_images)
from tests.tiny_everyday import HEIGHT, WIDTH, write_source


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp('source')) / 'coco_small'


@pytest.fixture
def content(source):
    return json.loads((source / 'instances.json').read_text())


def test_super_categories_are_the_classes(content):
    before = copy.deepcopy(content)
    coarse = sort_objects(content, 'x.json')
    assert content == before
    assert coarse['images'] == content['images']
    assert coarse['categories'] == CATEGORIES
    assert [item['name']
            for item in CATEGORIES] == ['person', 'animal', 'vehicle']
    first = [item for item in coarse['annotations'] if item['image_id'] == 1]
    # person, dog, car, crowd of people; the cup is left out
    assert [(item['id'], item['category_id'], item['iscrowd'])
            for item in first] == [(1, 1, 0), (2, 2, 0), (3, 3, 0), (5, 1, 1)]
    assert first[1]['segmentation'] == content['annotations'][1][
        'segmentation']
    assert count_objects(coarse) == dict(person=4, animal=4, vehicle=4)
    assert licence_counts([coarse, coarse]) == {'0': 2, '1': 4, '2': 2}


@pytest.mark.parametrize('change, reason', [
    (lambda item: item.pop('supercategory'),
     'x.json: each category must have a supercategory, but person lacks it'),
    (lambda item: item.update(supercategory='object'),
     'x.json: super-categories must be among .*animal.*, but are .*object'),
])
def test_unknown_category_list(content, change, reason):
    for category in content['categories']:
        change(category)
    with pytest.raises(ValueError, match=reason):
        sort_objects(content, 'x.json')


def test_splits(content):
    coarse = sort_objects(content, 'x.json')
    drawn = set()
    for seed in range(30):
        train, valid = split_images(coarse, 1, seed, 'x.json')
        ids = [{image['id']
                for image in part['images']} for part in (train, valid)]
        assert ids[0] | ids[1] == {1, 2, 3, 4} and len(ids[1]) == 1
        for part, images in zip((train, valid), ids):
            assert {item['image_id'] for item in part['annotations']} == images
        assert (train, valid) == split_images(coarse, 1, seed, 'x.json')
        drawn |= ids[1]
    assert drawn == {1, 2, 3, 4}


def test_impossible_splits(content):
    coarse = sort_objects(content, 'x.json')
    for number in (0, 4):
        with pytest.raises(ValueError, match='must be 1 to 3 of the 4, got'):
            split_images(coarse, number, 0, 'x.json')
    coarse['annotations'] = [
        item for item in coarse['annotations']
        if item['category_id'] != 2 or item['image_id'] == 1
    ]
    with pytest.raises(
            ValueError,
            match='x.json: each class must have an object in the .* images of '
            'seed 0, but animal has none'):
        split_images(coarse, 1, 0, 'x.json')


def test_rest_is_unknown(source):
    content = json.loads((source / 'person_single.json').read_text())
    marked = add_unlabelled(sort_objects(content, 'x.json'), 'x.json')
    assert len(content['annotations']) == 2
    assert len({item['id'] for item in marked['annotations']}) == 4
    assert [(item['image_id'], item['iscrowd'])
            for item in marked['annotations']] == [(11, 0), (12, 0), (11, 1),
                                                   (12, 1)]
    rest = marked['annotations'][2]
    assert rest['bbox'] == [0, 0, WIDTH, HEIGHT]
    assert rest['area'] == HEIGHT * WIDTH - 6 * 12
    mask = mask_utils.decode(rest['segmentation'])
    assert mask.sum() == rest['area'] and not mask[5:17, 4:10].any()


def test_image_without_a_rest(source):
    content = sort_objects(
        json.loads((source / 'person_single.json').read_text()), 'x.json')
    content['annotations'][0]['segmentation'] = dict(
        size=[HEIGHT, WIDTH], counts=[0, HEIGHT * WIDTH])
    marked = add_unlabelled(content, 'x.json')
    assert [item['image_id'] for item in marked['annotations']] == [11, 12, 12]
    content['annotations'][1]['segmentation'] = [[1, 2]]
    with pytest.raises(ValueError, match='x.json: image 12: a polygon needs'):
        add_unlabelled(content, 'x.json')
