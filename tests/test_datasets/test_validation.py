# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy

import pytest

from refinevis_mm.datasets.validation import validate_vis_json

GOOD = dict(
    categories=[dict(id=1, name='a'),
                dict(id=2, name='b')],
    videos=[
        dict(
            id=7,
            width=4,
            height=3,
            length=2,
            file_names=['v/0.jpg', 'v/1.jpg'])
    ],
    annotations=[
        dict(
            id=11,
            video_id=7,
            category_id=2,
            segmentations=[dict(size=[3, 4], counts=[2, 3, 7]), None],
            bboxes=[[0, 0, 2, 3], None],
            areas=[3, None])
    ])


def _with(path, value):
    """Copy of GOOD with the entry at ``path`` replaced, or deleted."""
    content = copy.deepcopy(GOOD)
    item = content
    for key in path[:-1]:
        item = item[key]
    if value is KeyError:
        del item[path[-1]]
    else:
        item[path[-1]] = value
    return content


def test_good_content_passes():
    validate_vis_json(GOOD, 'x.json')
    validate_vis_json(_with(['annotations'], None), 'x.json')
    validate_vis_json(_with(['annotations'], KeyError), 'x.json')
    validate_vis_json(_with(['videos', 0, 'length'], KeyError), 'x.json')


MASK = ['annotations', 0, 'segmentations', 0]


@pytest.mark.parametrize('path, value, message', [
    (['videos'], KeyError, "key 'videos' is missing"),
    (['categories'], KeyError, "key 'categories' is missing"),
    (['categories', 1, 'id'], 1, 'category 1: the id is used twice'),
    (['categories', 1, 'name'], 'a', 'names must differ'),
    (['videos', 0, 'height'], KeyError, "video 7: key 'height' is missing"),
    (['videos', 0, 'height'], '3', 'video 7: height must be a positive'),
    (['videos', 0, 'file_names'], [], 'video 7: file_names must be'),
    (['videos', 0, 'length'], 3, 'video 7: length is 3, but .* 2 entries'),
    (['videos'], GOOD['videos'] * 2, 'video 7: the id is used twice'),
    (['annotations', 0, 'segmentations'
      ], KeyError, "annotation 11 of video 7: key 'segmentations' is missing"),
    (['annotations'], GOOD['annotations'] * 2,
     'annotation 11 of video 7: the id is used twice'),
    (['annotations', 0, 'video_id'
      ], 8, 'video 8, annotation 11: there is no such video'),
    (['annotations', 0, 'category_id'
      ], 3, 'video 7, annotation 11: category_id 3'),
    (['annotations', 0, 'segmentations'], [None],
     'video 7, annotation 11: segmentations .* 2 frames, but got 1'),
    (['annotations', 0, 'bboxes'
      ], [None] * 3, 'video 7, annotation 11: bboxes .* 2 frames, but got 3'),
    (['annotations', 0, 'bboxes', 0], [1, 2], 'annotation 11, frame 0: a box'),
    ([*MASK, 'size'
      ], [4, 3], r'video 7, annotation 11, frame 0: mask size is \[4, 3\]'),
    ([*MASK, 'counts'], [2, 3], 'frame 0: RLE counts cover 5 pixels.* 12'),
    ([*MASK, 'counts'], KeyError, "RLE with 'size' and 'counts'"),
    (MASK, [[1, 2]], 'a polygon needs at least 3 points'),
])
def test_defect_is_named(path, value, message):
    with pytest.raises(ValueError, match=message) as info:
        validate_vis_json(_with(path, value), 'x.json')
    assert str(info.value).startswith('x.json: ')
    assert '\n' not in str(info.value)


def test_not_an_object():
    with pytest.raises(ValueError, match='expected a JSON object'):
        validate_vis_json([], 'x.json')
