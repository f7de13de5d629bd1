# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One rule book: what the validator passes, everybody takes."""
import copy
import gzip
import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from refinevis_mm.datasets import VISDataset
from refinevis_mm.evaluation import (evaluate_best_tracklet, evaluate_recovery,
                                     evaluate_tracking, evaluate_vis)
from refinevis_mm.vis_json import (ERROR, check_ground_truth, check_results,
                                   find_defects, find_result_defects,
                                   load_json, missing_results, vis_files)
from refinevis_mm.visualization import select_video, write_report
from tests.tiny_recordings import CLASSES, SIZE, ResultStream, box, create

HEIGHT, WIDTH = SIZE  # 6 x 8 pixels


def code(mask):
    """A mask as COCO's text."""
    rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=list(SIZE), counts=rle['counts'].decode())


MASK = code(box(1))  # 2 x 2 pixels, columns 1 and 2, rows 0 and 1
RUNS = [6, 2, 4, 2, 34]


def content(**changes):
    """A data set of one video with two equal objects in two frames.

    Args:
        **changes: Entries of the first object; ``KeyError`` deletes one.
    """
    annotations = [
        dict(
            id=k,
            video_id=7,
            category_id=2,
            iscrowd=0,
            segmentations=[MASK, None],
            bboxes=[[1, 0, 2, 2], None],
            areas=[4, None]) for k in (11, 12)
    ]
    for key, value in changes.items():
        if value is KeyError:
            del annotations[0][key]
        else:
            annotations[0][key] = value
    return dict(
        categories=[
            dict(id=k, name=name) for k, name in enumerate(CLASSES, 1)
        ],
        videos=[
            dict(
                id=7,
                width=WIDTH,
                height=HEIGHT,
                length=2,
                file_names=['v/0.jpg', 'v/1.jpg'])
        ],
        annotations=annotations)


def of_video(**changes):
    """The same with other entries of the video."""
    changed = content()
    video = dict(changed['videos'][0], **changes)
    changed['videos'] = [{
        key: value
        for key, value in video.items() if value is not KeyError
    }]
    return changed


def of_ids(*ids):
    """The same with other ids of the categories."""
    changed = content()
    for category, category_id in zip(changed['categories'], ids):
        category['id'] = category_id
    for annotation in changed['annotations']:
        annotation['category_id'] = ids[1]
    return changed


def first_masks(*masks, **changes):
    return content(segmentations=list(masks), **changes)


POLYGON = [[1, 0, 2.9, 0, 2.9, 1.9, 1, 1.9]]
BOX = [1, 0, 2, 2]
EMPTY = dict(size=list(SIZE), counts=[HEIGHT * WIDTH])
# (data set, codes of its defects)
PASSED = dict(
    plain=(content(), []),
    no_areas=(content(areas=KeyError), []),
    null_areas=(content(areas=None), []),
    wrong_areas=(content(areas=[9, None]), ['area']),
    lacking_areas=(content(areas=[None, 0]), ['area']),
    no_boxes=(content(bboxes=KeyError), []),
    null_boxes=(content(bboxes=None), []),
    box_alone=(content(bboxes=[BOX, BOX]), ['null-mismatch']),
    mask_alone=(content(bboxes=[None, None]), ['null-mismatch']),
    empty_box=(content(bboxes=[[1, 0, 0, 2], None]), ['box-empty']),
    box_outside=(content(bboxes=[[1, 0, 20, 2], None]), ['box-outside']),
    no_iscrowd=(content(iscrowd=KeyError), []),
    crowd=(content(iscrowd=1), []),
    true_crowd=(content(iscrowd=True), []),
    polygons=(first_masks(POLYGON, None), []),
    points_beside=(first_masks([*POLYGON, [5, 5], [0, 0, 1, 1]],
                               None), ['lone-points']),
    polygons_outside=(first_masks([[-9, -9, 20, -9, 20, 20]], None,
                                  areas=None), []),
    empty_polygons=(first_masks(MASK, []), ['empty-mask', 'null-mismatch']),
    runs=(first_masks(dict(size=list(SIZE), counts=RUNS), None), []),
    text=(first_masks(dict(MASK, more=1), None), []),
    mixed=(first_masks(
        dict(size=list(SIZE), counts=RUNS), MASK, bboxes=None,
        areas=None), []),
    empty_mask=(first_masks(MASK, EMPTY), ['empty-mask', 'null-mismatch']),
    never_visible=(first_masks(None, None, bboxes=None,
                               areas=None), ['never-visible']),
    no_length=(of_video(length=KeyError), ['no-length']),
    frame_twice=(of_video(file_names=['v/0.jpg'] * 2), ['duplicate-frame']),
    other_ids=(of_ids(0, 5, 9), ['category-ids']),
    no_size=(content(height=HEIGHT, width=WIDTH, length=2, more='x'), []))
# what JSON has no form for, but a program may hand over
IN_MEMORY = dict(
    bytes=first_masks(dict(MASK, counts=MASK['counts'].encode()), None),
    tuples=content(
        segmentations=(dict(MASK, size=tuple(SIZE)), None),
        areas=(4, None),
        bboxes=None),
    numpy=content(
        id=np.int64(3),
        video_id=np.int64(7),
        category_id=np.int64(2),
        areas=[np.uint32(4), None]))


def results(data):
    """What finds both objects of a data set."""
    return [
        dict(
            video_id=7,
            category_id=data['annotations'][1]['category_id'],
            score=0.9 - 0.1 * k,
            segmentations=annotation['segmentations'])
        for k, annotation in enumerate(data['annotations'])
    ]


def take_everywhere(data, path):
    """All that reads ground truth."""
    before = copy.deepcopy(data)
    rows = results(data)
    for check_masks in (False, True):
        stats = evaluate_vis(
            data, rows, check_masks=check_masks, class_agnostic=True)
        # the official evaluator misses an object that is never there
        visible = any(data['annotations'][0]['segmentations'])
        assert stats['AR100'] == pytest.approx(1 if visible else 0.5)
        assert stats['AP_agnostic'] == stats['AP'] == stats['APs'] > 0.25
        assert not visible or stats['AP'] == pytest.approx(1)
    assert evaluate_tracking(data, rows)['mota'] <= 1
    assert evaluate_best_tracklet(data, rows)['J'] == 1
    assert evaluate_recovery(data, rows, [rows])['iou']
    # the report
    stream = ResultStream()
    with create(path) as recording:
        for _ in range(2):
            recording.add(
                stream.frame({'online': [(0, [.1, .8, .1], True, box(1))]}))
        images = [np.zeros((*SIZE, 3), np.uint8)] * 2
        selected = select_video(data, video_id=7)
        assert write_report(
            path.with_suffix('.html'),
            images,
            recording,
            'A clip',
            ground_truth=selected)
    assert data == before


@pytest.mark.parametrize('name', PASSED)
def test_what_the_validator_passes_all_others_take(name, tmp_path):
    data, codes = PASSED[name]
    defects = find_defects(data)
    assert sorted(defect.code for defect in defects) == codes
    assert ERROR not in {defect.level for defect in defects}
    take_everywhere(data, tmp_path / 'video.sqlite')
    path = tmp_path / 'x.json'
    path.write_text(json.dumps(data))
    dataset = VISDataset(ann_file=str(path), test_mode=True)
    images = dataset.get_data_info(0)['images']
    assert len(images) == 2
    for instances in (image['instances'] for image in images):
        for instance in instances:
            assert mask_utils.decode(instance['mask']).any()
    second = images[0]['instances'][-1]
    assert second['bbox'] == [1, 0, 3, 2] and second['ignore_flag'] == 0


@pytest.mark.parametrize('name', IN_MEMORY)
def test_what_a_program_hands_over(name, tmp_path):
    data = IN_MEMORY[name]
    assert find_defects(data) == []
    take_everywhere(data, tmp_path / 'video.sqlite')


def test_missing_areas_are_those_of_the_masks():
    large = np.ones((200, 200), bool)  # more than 128 x 128, so "medium"
    rle = mask_utils.encode(np.asfortranarray(large, np.uint8))
    tube = [dict(size=[200, 200], counts=rle['counts'].decode()), None]
    data = content(segmentations=tube, bboxes=None, areas=[200 * 200, None])
    data['videos'][0].update(height=200, width=200)
    del data['annotations'][1]
    rows = results(dict(annotations=data['annotations'] * 2))[:1]
    expected = evaluate_vis(data, rows)
    assert expected['APm'] == pytest.approx(1) and expected['APs'] == -1
    for missing in (KeyError, None):
        other = copy.deepcopy(data)
        other['annotations'][0]['areas'] = None
        if missing is KeyError:
            del other['annotations'][0]['areas']
        assert evaluate_vis(other, rows) == expected


def test_evaluation_needs_no_file_names():
    """A reader of frames does, so the validator asks for them."""
    data = of_video(file_names=KeyError)
    assert {d.code for d in find_defects(data)} >= {'missing-key'}
    assert evaluate_vis(data, results(data))['AP'] == pytest.approx(1)
    assert find_result_defects(data, results(data)) == []


@pytest.mark.parametrize('change, message', [
    (dict(areas=['x', None]), 'video 7, annotation 11, frame 0: areas must'),
    (dict(iscrowd=2), 'video 7, annotation 11: iscrowd must be 0 or 1'),
    (dict(segmentations=[{}, None]), 'annotation 11, frame 0: a mask must'),
    (dict(length=3), 'annotation 11: length is 3, but that of the video'),
])
def test_what_the_validator_refuses_is_refused_in_its_words(change, message):
    data = content(**change)
    assert any(message in str(defect) for defect in find_defects(data))
    with pytest.raises(ValueError, match=f'^the ground truth: .*{message}'):
        check_ground_truth(data)


def test_videos_without_results_are_named():
    data = content()
    data['videos'] = [
        dict(id=k, height=1, width=1, length=1, file_names=[f'{k}/0.jpg'])
        for k in range(9)
    ]
    del data['videos'][2]['file_names']
    assert missing_results(data, range(9)) == ''
    assert missing_results(data, {
        0, 1, 3, 4, 5, 6, 7
    }) == ('2 of 9 videos have no results: video_id 2 (no files), 8 (8/0.jpg)')
    assert missing_results(data, ()).endswith(', 4 (4/0.jpg), ...')


def test_rows_of_unknown_categories_are_dropped():
    data = content()
    rows = results(data)
    extra = [dict(rows[0], category_id=value) for value in (9, '2', [2], None)]
    assert check_results(data, rows) == rows
    assert check_results(data, [*extra, *rows]) == rows
    for evaluate in (evaluate_vis, evaluate_tracking, evaluate_best_tracklet):
        assert evaluate(data, extra + rows) == evaluate(data, rows)
    for row in extra:
        with pytest.raises(ValueError, match='results: result 2, .*is not am'):
            check_results(data, [*rows, row], 'raise')


def packed(path, text):
    with gzip.open(path, 'wt') as file:
        file.write(text)
    return path


def test_packed_bombs_are_refused(tmp_path, monkeypatch):
    """A file of 1 MB may unpack to 1 GB."""
    monkeypatch.setattr(vis_files, 'MIN_UNPACKED', 10**5)
    path = packed(tmp_path / 'a.json.gz', '[' + ' ' * 10**7 + ']')
    assert path.stat().st_size < 2e4
    with pytest.raises(ValueError, match='unpacks to more than .* bytes'):
        load_json(path)
    assert load_json(packed(path, '[' + ' ' * 10**4 + ']')) == []


@pytest.mark.parametrize('content, reason', [
    (b'[' * 10**5, 'recursion'),
    (b'{"a":' * 10**5, 'recursion'),
    (b'[' + b'9' * 10**4 + b']', '4300 digits'),
    (b'[\xff]', 'decode'),
    (b'', 'Expecting value'),
])
def test_absurd_files(content, reason, tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'a.json is not valid .*{reason}'):
        load_json(path)
    path = tmp_path / 'a.json.gz'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='a.json.gz is not valid JSON: '):
        load_json(path)
