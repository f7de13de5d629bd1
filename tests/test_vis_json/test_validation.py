# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy
import json
import logging

import pytest

from refinevis_mm.datasets import VISDataset
from refinevis_mm.vis_json import check_ground_truth
from refinevis_mm.vis_json.defects import ERROR, LEVELS, NOTE, WARNING
from refinevis_mm.vis_json.validation import find_defects, find_result_defects
from tests.tiny_vis_json import DATA_SET, RESULTS


def changed(content, path, value):
    """Copy of ``content`` with an entry replaced, or deleted."""
    content = copy.deepcopy(content)
    item = content
    for key in path[:-1]:
        item = item[key]
    if value is KeyError:
        del item[path[-1]]
    else:
        item[path[-1]] = value
    return content


def read(content, folder):
    """The data set as the reader has it."""
    path = folder / 'x.json'
    path.write_text(json.dumps(content))
    return VISDataset(ann_file=str(path), test_mode=True)


def test_good_content():
    assert find_defects(DATA_SET) == []
    assert find_result_defects(DATA_SET, RESULTS) == []


@pytest.mark.parametrize('value', [KeyError, None, []])
def test_test_splits_have_no_annotations(value):
    content = changed(DATA_SET, ['annotations'], value)
    assert [d.code for d in find_defects(content)] == ['no-annotations']


ANNOTATION = ['annotations', 0]
MASK = [*ANNOTATION, 'segmentations', 0]
BOX = [*ANNOTATION, 'bboxes', 0]
WHERE = 'video 7, annotation 11'
DEFECTS = [
    (['videos'], KeyError, 'missing-key', "key 'videos' is missing"),
    (['categories'], KeyError, 'missing-key', "key 'categories' is missing"),
    (['annotations'], {}, 'wrong-type', 'annotations must be a list'),
    (['categories'], None, 'wrong-type', 'categories must be a list'),
    (['videos'], None, 'wrong-type', 'videos must be a list'),
    (['categories', 1], 3, 'wrong-type', 'category at position 1: expected'),
    (['categories', 1,
      'id'], KeyError, 'missing-key', "category at position 1: key 'id'"),
    (['categories', 1,
      'id'], 1, 'duplicate-id', 'category 1: the id is used twice'),
    (['categories', 1, 'id'], '2', 'wrong-type', 'must be an integer'),
    (['categories', 1, 'name'], 'a', 'duplicate-name', 'names must differ'),
    (['categories', 1, 'name'], 5, 'wrong-type', 'name must be a string'),
    (['categories', 0, 'id'], 3, 'category-ids', 'are not 1 to 2'),
    (['videos', 0], None, 'wrong-type', 'video at position 0: expected'),
    (['videos', 0, 'id'], KeyError, 'missing-key',
     "video at position 0: key 'id' is missing"),
    (['videos', 0,
      'height'], KeyError, 'missing-key', "video 7: key 'height' is missing"),
    (['videos', 0,
      'height'], '3', 'wrong-size', 'video 7: height must be a positive'),
    (['videos', 0,
      'width'], 0, 'wrong-size', 'video 7: width must be a positive'),
    (['videos', 0,
      'file_names'], [], 'no-frames', 'video 7: file_names must be'),
    (['videos', 0, 'file_names',
      1], None, 'wrong-type', 'video 7, frame 1: file names must be strings'),
    (['videos', 0, 'file_names',
      1], 'v/0.jpg', 'duplicate-frame', 'video 7: a frame is listed twice'),
    (['videos', 0, 'file_names', 1], 'v\\1.jpg', 'file-name',
     r"video 7, frame 1: .* but got 'v\\\\1.jpg' with a backslash"),
    (['videos', 0, 'file_names'], ['v/10.jpg', 'v/9.jpg'], 'frame-order',
     'video 7: frames must be in the order of their numbers'),
    (['videos', 0,
      'length'], 3, 'wrong-length', 'video 7: length is 3, but .* 2 entries'),
    (['videos', 0,
      'length'], KeyError, 'no-length', "video 7: key 'length' is missing"),
    (['videos'], DATA_SET['videos'] * 2, 'duplicate-id',
     'video 7: the id is used twice'),
    (['videos'], [*DATA_SET['videos'],
                  dict(DATA_SET['videos'][0], id=8)], 'duplicate-frame',
     "video 8, frame 0: 'v/0.jpg' is also a frame of video 7"),
    (ANNOTATION, [], 'wrong-type', 'annotation at position 0: expected'),
    ([*ANNOTATION, 'id'], KeyError, 'missing-key',
     "video 7, annotation at position 0: key 'id' is missing"),
    ([*ANNOTATION, 'id'], 'x', 'wrong-type', 'annotation x: the id must be'),
    ([*ANNOTATION, 'segmentations'], KeyError, 'missing-key',
     f"{WHERE}: key 'segmentations' is missing"),
    (['annotations'], DATA_SET['annotations'] * 2, 'duplicate-id',
     f'{WHERE}: the id is used twice'),
    ([*ANNOTATION, 'video_id'], 8, 'unknown-video',
     'video 8, annotation 11: there is no such video'),
    ([*ANNOTATION, 'video_id'], [7], 'unknown-video', 'no such video'),
    ([*ANNOTATION, 'category_id'], 3, 'unknown-category',
     f'{WHERE}: category_id 3 is not among'),
    ([*ANNOTATION, 'category_id'], '2', 'unknown-category', "category_id '2'"),
    ([*ANNOTATION,
      'iscrowd'], 2, 'iscrowd', f'{WHERE}: iscrowd must be 0 or 1, but got 2'),
    ([*ANNOTATION, 'iscrowd'], '0', 'iscrowd', "but got '0'"),
    ([*ANNOTATION, 'iscrowd'], 1, 'all-crowds', 'all annotations are crowds'),
    ([*ANNOTATION, 'length'], 3, 'wrong-length',
     f'{WHERE}: length is 3, but that of the video is 2'),
    ([*ANNOTATION, 'width'], 5, 'wrong-size', f'{WHERE}: width is 5, but'),
    ([*ANNOTATION, 'segmentations'], [None], 'wrong-length',
     f'{WHERE}: segmentations .* 2 frames, but got 1'),
    ([*ANNOTATION, 'segmentations'], None, 'wrong-length',
     f'{WHERE}: segmentations .* 2 frames, but got None'),
    ([*ANNOTATION, 'bboxes'], [None] * 3, 'wrong-length',
     f'{WHERE}: bboxes .* 2 frames, but got 3'),
    ([*ANNOTATION,
      'areas'], 3, 'wrong-length', f'{WHERE}: areas .* 2 frames, but got 3'),
    ([*ANNOTATION, 'areas', 0], '3', 'wrong-type',
     f"{WHERE}, frame 0: areas must be numbers or null, but got '3'"),
    (BOX, [1, 2], 'box-form', f'{WHERE}, frame 0: a box is'),
    (BOX, [1, 0, '1', 3], 'box-form', f'{WHERE}, frame 0: a box is'),
    (BOX, [1, 0, float('nan'), 3], 'box-form', 'frame 0: a box is'),
    (BOX, [1, 0, 4, 3], 'box-outside',
     rf'{WHERE}, frame 0: .* 4 x 3, but got \[1, 0, 4, 3\]'),
    (BOX, [-1, 0, 2, 3], 'box-outside', f'{WHERE}, frame 0: a box must lie'),
    (BOX, [1, 0, 0, 3], 'box-empty', f'{WHERE}, frame 0: a box needs'),
    (BOX, None, 'null-mismatch', f'{WHERE}, frame 0: .* only the box is'),
    ([*ANNOTATION, 'bboxes',
      1], [0, 0, 1,
           1], 'null-mismatch', f'{WHERE}, frame 1: .* only the mask is'),
    ([*ANNOTATION, 'areas', 0], 9, 'area', f'{WHERE}, frame 0: areas .* 9 in'),
    ([*MASK,
      'size'], [4,
                3], 'mask-size', rf'{WHERE}, frame 0: mask size is \[4, 3\]'),
    ([*MASK, 'counts'], [2, 3], 'mask-counts',
     f'{WHERE}, frame 0: RLE counts cover 5 pixels.* 12'),
    ([*MASK, 'counts'], KeyError, 'mask-form', "RLE with 'size' and 'counts'"),
    (MASK, [[1, 2]], 'mask-form', 'a polygon needs at least 3 points'),
    (MASK, [[0, 0, 2, 0, 2, 2], [3, 1],
            [1, 1, 2,
             2]], 'lone-points', f'{WHERE}, frame 0: points and lines beside'),
    (MASK, [], 'empty-mask', f'{WHERE}, frame 0: the list of polygons is'),
    ([*MASK, 'counts'], [12], 'empty-mask',
     f'{WHERE}, frame 0: the mask has no pixels'),
]


@pytest.mark.parametrize('path, value, code, message', DEFECTS)
def test_defect_is_named(path, value, code, message, tmp_path, caplog):
    content = changed(DATA_SET, path, value)
    found = [d for d in find_defects(content) if d.code == code]
    assert len(found) == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(str(found[0]))
    assert '\n' not in str(found[0])

    # the reader refuses errors with the same words and reads all else
    if found[0].level == ERROR:
        with pytest.raises(ValueError, match=message):
            read(content, tmp_path)
    else:
        with caplog.at_level(logging.WARNING, logger='mmengine'):
            dataset = read(content, tmp_path)
        assert dataset.get_data_info(0)['video_length'] == 2


def test_all_errors_are_refused_in_the_order_of_the_file(tmp_path):
    content = changed(DATA_SET, MASK, {})
    content['videos'].append(dict(DATA_SET['videos'][0], id=8, height=None))
    content['annotations'] += [
        3, dict(DATA_SET['annotations'][0], category_id=9)
    ]
    found = find_defects(content)
    assert [d.code for d in found if d.level == ERROR] == [
        'wrong-size', 'mask-form', 'wrong-type', 'duplicate-id',
        'unknown-category'
    ]
    with pytest.raises(ValueError, match='x.json: video 8: height must be'):
        read(content, tmp_path)


@pytest.mark.parametrize('names', [
    ['v/9.jpg', 'v/10.jpg'],
    ['v/09.jpg', 'v/10.jpg'],
    ['v/2.jpg', 'v/10.jpg', 'v/1.jpg'],
    ['v/10/1.jpg', 'w/9/2.jpg'],
    ['3f10.jpg', 'a9.jpg'],
    ['9' * 5000, '10' * 5000],
])
def test_other_orders_are_meant(names):
    """By value, drawn, in two folders, numbers that are none."""
    content = dict(DATA_SET, videos=[dict(DATA_SET['videos'][0])])
    content['videos'][0].update(file_names=names, length=len(names))
    assert 'frame-order' not in {d.code for d in find_defects(content)}


def test_an_unusable_video_is_not_missing():
    content = changed(DATA_SET, ['videos', 0, 'file_names', 0], 'v\\0.jpg')
    assert [d.code for d in find_defects(content)] == ['file-name']
    assert [d.code for d in find_result_defects(content, RESULTS)
            ] == ['unknown-video']


def test_only_crowds(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(f'{VISDataset.__module__}.print_log',
                        lambda line, *args, **kwargs: lines.append(line))
    content = changed(DATA_SET, [*ANNOTATION, 'iscrowd'], 1)
    read(content, tmp_path)
    assert '1 all-crowds' in lines[0]
    assert 'iscrowd must be 0 (--crowds-as-objects' in lines[0]
    with pytest.raises(ValueError, match='all annotations are crowds, so the'):
        check_ground_truth(content)
    content['annotations'].append(dict(DATA_SET['annotations'][0], id=12))
    assert find_defects(content) == []
    check_ground_truth(content)


def test_never_visible():
    content = changed(DATA_SET, [*ANNOTATION, 'segmentations'], [None] * 2)
    content = changed(content, [*ANNOTATION, 'bboxes'], [None] * 2)
    assert [d.code for d in find_defects(content)] == ['never-visible']


@pytest.mark.parametrize('content', [None, [], 'x', {}])
def test_not_a_data_set(content, tmp_path):
    assert {d.level for d in find_defects(content)} >= {ERROR}
    with pytest.raises(ValueError, match='x.json: '):
        read(content, tmp_path)


def test_to_dict():
    found, = find_defects(changed(DATA_SET, BOX, [0, 0, 0, 0]))
    assert found.to_dict() == dict(
        level=WARNING,
        code='box-empty',
        video=7,
        annotation=11,
        frame=0,
        message='a box needs a width and height above 0, but got [0, 0, 0, 0]')


RESULT_DEFECTS = [
    ([0], 3, 'wrong-type', 'result 0: expected an object'),
    ([0, 'score'], KeyError, 'missing-key', "result 0, video 7: key 'score'"),
    ([0, 'score'], float('nan'), 'score', 'result 0, video 7: score must be'),
    ([0, 'score'], '1', 'score', "but got '1'"),
    ([0, 'score'], 1.5, 'score-range', 'score 1.5 is not in'),
    ([0, 'video_id'], 8, 'unknown-video', 'result 0, video 8: there is no'),
    ([0, 'category_id'], 0, 'unknown-category', 'category_id 0 is not among'),
    ([0, 'segmentations'], [None], 'wrong-length', '2 frames, but got 1'),
    ([0, 'segmentations', 0,
      'size'], [4,
                3], 'mask-size', 'result 0, video 7, frame 0: mask size is'),
    ([0, 'segmentations', 0, 'counts'], '33', 'mask-counts', '6 pixels'),
]


@pytest.mark.parametrize('path, value, code, message', RESULT_DEFECTS)
def test_result_defect_is_named(path, value, code, message):
    found = find_result_defects(DATA_SET, changed(RESULTS, path, value))
    found = [d for d in found if d.code == code]
    assert len(found) == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(str(found[0]))


def test_results_as_a_whole():
    assert [d.code
            for d in find_result_defects(DATA_SET, {})] == ['wrong-type']
    found = find_result_defects(DATA_SET, [])
    assert [(d.code, d.place)
            for d in found] == [('no-results', dict(video=7))]
    found = find_result_defects(DATA_SET, RESULTS * 2)
    assert [str(d)
            for d in found] == ['result 1, video 7: the same as result 0']
    # IDOL writes masks without pixels for null
    rows = changed(RESULTS, [0, 'segmentations', 1],
                   dict(size=[3, 4], counts=[12]))
    assert find_result_defects(DATA_SET, rows) == []
    # the annotations are not looked at
    assert find_result_defects(changed(DATA_SET, MASK, {}), RESULTS) == []


def test_levels():
    assert set(LEVELS.values()) == {ERROR, WARNING, NOTE}
    tested = {code for _, _, code, _ in DEFECTS + RESULT_DEFECTS}
    elsewhere = {
        'never-visible', 'no-annotations', 'no-results', 'duplicate-result',
        'missing-frame', 'unreadable-frame', 'frame-size', 'preset-classes'
    }
    assert tested | elsewhere == set(LEVELS)


def test_frames_that_no_memory_has():
    content = copy.deepcopy(DATA_SET)
    content['videos'][0].update(width=10**6, height=10**6)
    del content['annotations']
    assert [
        (defect.code, str(defect)) for defect in find_defects(content)
    ][0] == ('wrong-size', 'video 7: a frame may have 268435456 pixels, but '
             'got 1000000 x 1000000')


@pytest.mark.parametrize('counts',
                         ['33P', b'33P', [-1, 13], [2**32, 1], [.5], 5, ''])
def test_codes_that_pycocotools_leaves_are_looked_into(counts):
    """Also where codes are not checked: it reads behind their end."""
    content = copy.deepcopy(DATA_SET)
    content['annotations'][0]['segmentations'][0]['counts'] = counts
    with pytest.raises(ValueError, match='RLE counts'):
        check_ground_truth(content, check_masks=False)
