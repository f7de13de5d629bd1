# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replays recordings of the official evaluator, plus cases by hand.

More recorded cases are taken from ``$REFINEVIS_PARITY_DIR/metric`` if set.
"""
import copy
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from refinevis_mm.evaluation.vis_eval import evaluate_vis
from refinevis_mm.vis_json import (distinct_tubes, load_json, mask_areas,
                                   to_rles, tube_ious)

FOLDERS = [Path(__file__).parents[1] / 'data' / 'metric']
if 'REFINEVIS_PARITY_DIR' in os.environ:
    FOLDERS.append(Path(os.environ['REFINEVIS_PARITY_DIR']) / 'metric')
CASES = [
    path.parent for folder in FOLDERS
    for path in sorted(folder.glob('*/expected.json'))
]


def rle(pixels):
    """RLE dict of a mask given as nested lists."""
    code = mask_utils.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return dict(
        size=[int(side) for side in code['size']],
        counts=code['counts'].decode())


def bar(left, right, width=10):
    """RLE of a mask (1, width) filled from ``left`` to ``right``."""
    pixels = np.zeros((1, width))
    pixels[:, left:right] = 1
    return rle(pixels)


def ground_truth(*tubes, **changes):
    """One video (id 3) of two frames; every tube is an object of class 2."""
    return dict(
        videos=[dict(id=3, width=10, height=1, length=2)],
        categories=[dict(id=2, name='cat'),
                    dict(id=1, name='dog')],
        annotations=[
            dict(
                dict(
                    id=i + 1,
                    video_id=3,
                    category_id=2,
                    iscrowd=0,
                    segmentations=list(tube),
                    areas=[10, 10]), **changes) for i, tube in enumerate(tubes)
        ])


def result(tube, score=0.5, category_id=2, video_id=3):
    """One row of the results."""
    return dict(
        video_id=video_id,
        category_id=category_id,
        score=score,
        segmentations=list(tube))


@pytest.mark.parametrize(
    'case', CASES, ids=lambda case: f'{case.parts[-3]}-{case.name}')
def test_equals_official(case):
    expected = load_json(case / 'expected.json')
    stats = evaluate_vis(
        case / 'gt.json', case / 'pred.json', return_arrays=True)
    with np.load(case / 'expected_arrays.npz') as arrays:
        for name in ('precision', 'recall', 'scores'):
            np.testing.assert_array_equal(stats[name], arrays[name], name)
    for name, value in zip(expected['stats_names'], expected['stats']):
        assert stats[name] == pytest.approx(value, abs=1e-12), name
    for category_id, numbers in expected['per_category'].items():
        ours = stats['per_class'][int(category_id)]
        assert ours['name'] == numbers['name']
        for name in ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10',
                     'AR100'):
            assert ours[name] == pytest.approx(numbers[name], abs=1e-12)


@pytest.mark.parametrize(
    'case', CASES, ids=lambda case: f'{case.parts[-3]}-{case.name}')
def test_tube_ious_equal_official(case):
    gt, rows = load_json(case / 'gt.json'), load_json(case / 'pred.json')
    videos = {video['id']: video for video in gt['videos']}
    expected = load_json(case / 'expected_tube_ious.json')
    for key, matrix in expected.items():
        video_id, category_id = map(int, key.split(','))
        length = videos[video_id]['length']

        def tubes_of(rows):
            return [
                to_rles(videos[video_id], row) for row in rows
                if row['video_id'] == video_id
                and row['category_id'] == category_id
            ]

        dets = tubes_of(sorted(rows, key=lambda row: -row['score']))[:100]
        objs = tubes_of(gt['annotations'])
        areas = mask_areas(dets, length), mask_areas(objs, length)
        ious = tube_ious(dets, objs, *areas)
        np.testing.assert_array_equal(ious, np.array(matrix), key)
        bounded = tube_ious(dets, objs, *areas, min_iou=0.5)
        np.testing.assert_array_equal(bounded[ious >= .5], ious[ious >= .5])


def test_tube_iou_by_hand():
    # frame 0: 2 of 4 + 4 - 2; frame 1: only the result, 5 pixels
    dets, objs = [[bar(0, 4), bar(0, 5)]], [[bar(2, 6), None]]
    ious = tube_ious(dets, objs, mask_areas(dets, 2), mask_areas(objs, 2))
    assert ious.tolist() == [[2 / 11]]


def test_average_precision_by_hand():
    # The better scored row misses; the other has IoU 8 / 10: right up to .8.
    gt = ground_truth([bar(0, 5), bar(0, 5)])
    rows = [
        result([bar(6, 9), None], 0.9),
        result([bar(0, 4), bar(0, 4)], 0.8)
    ]
    stats = evaluate_vis(gt, rows)
    assert stats['AP50'] == stats['AP75'] == pytest.approx(0.5)
    assert stats['AP'] == pytest.approx(0.5 * 7 / 10)
    assert stats['AR1'] == 0
    assert stats['AR10'] == pytest.approx(7 / 10)
    assert stats['APs'] == stats['AP'] and stats['APm'] == -1
    assert stats['per_class'][1]['AP'] == -1
    assert stats['per_class'][2]['AP'] == stats['AP']


def test_crowds_by_hand():
    tube = [bar(0, 5), bar(0, 5)]
    gt = ground_truth(tube, [bar(5, 10), None])
    gt['annotations'][1]['iscrowd'] = 1
    rows = [result([bar(5, 10), None], 0.9)] * 3 + [result(tube, 0.1)]
    assert evaluate_vis(gt, rows)['AP'] == pytest.approx(1)


@pytest.mark.parametrize('case', ['small', 'medium'])
def test_ids_of_objects_do_not_matter(case):
    """The official evaluator never finds the object of id 0."""
    gt = load_json(FOLDERS[0] / case / 'gt.json')
    rows = load_json(FOLDERS[0] / case / 'pred.json')
    expected = evaluate_vis(gt, rows, class_agnostic=True)
    for number, ann in enumerate(gt['annotations']):
        ann['id'] = number
    assert evaluate_vis(gt, rows, class_agnostic=True) == expected
    tube = [bar(0, 5), bar(0, 5)]
    gt = ground_truth(tube, id=0)
    assert evaluate_vis(gt, [result(tube)])['AP'] == pytest.approx(1)


def test_crowd_regions_by_hand():
    """Only the first three pixels are labelled, a crowd has the rest."""
    gt = ground_truth([bar(0, 3)] * 2, [bar(3, 10)] * 2)
    gt['annotations'][1]['iscrowd'] = 1
    rows = [
        result([bar(4, 6)] * 2, 0.9),  # all of it in the crowd, IoU 2 / 7
        result([bar(2, 4), None], 0.8),  # half of it in the crowd
        result([bar(0, 3)] * 2, 0.5)
    ]
    stats = evaluate_vis(gt, rows)
    assert stats['AP'] == pytest.approx(1 / 3)
    stats = evaluate_vis(gt, rows, crowd_regions=True)
    assert stats['AP50'] == pytest.approx(1)  # the second one has its half
    assert stats['AP75'] == pytest.approx(1 / 2)
    assert stats['AP'] == pytest.approx((1 + 9 / 2) / 10)
    assert stats['AR1'] == 0 and stats['AR10'] == 1


def test_crowd_regions_are_of_a_category():
    gt = ground_truth([bar(0, 3)] * 2, [bar(3, 8)] * 2, [bar(8, 10)] * 2)
    gt['annotations'][1]['iscrowd'] = 1
    gt['annotations'][2]['category_id'] = 1
    rows = [
        result([bar(4, 6)] * 2, 0.9, category_id=1),
        result([bar(8, 10)] * 2, 0.6, category_id=1),
        result([bar(0, 3)] * 2, 0.5)
    ]
    stats = evaluate_vis(gt, rows, class_agnostic=True, crowd_regions=True)
    assert stats['per_class'][1]['AP50'] == pytest.approx(1 / 2)
    assert stats['per_class'][2]['AP50'] == pytest.approx(1)
    assert stats['AP50_agnostic'] == pytest.approx(1)
    gt['annotations'].append(dict(gt['annotations'][1], id=9,
                                  category_id=1))  # and of the other
    stats = evaluate_vis(gt, rows, crowd_regions=True)
    assert stats['AP50'] == pytest.approx(1)


def _random_images():
    """Images as videos of one frame, with crowds, and results."""
    rng = np.random.default_rng(0)
    gt = dict(
        videos=[dict(id=i, width=24, height=16, length=1) for i in range(8)],
        categories=[dict(id=1, name='cat'),
                    dict(id=2, name='dog')],
        annotations=[])
    rows = []
    for video in gt['videos']:
        for _ in range(6):
            mask = np.zeros((16, 24), dtype=np.uint8)
            y, x = rng.integers(12), rng.integers(18)
            height, width = rng.integers(3, 9, 2)
            mask[y:y + height, x:x + width] = 1
            gt['annotations'].append(
                dict(
                    id=len(gt['annotations']) + 1,
                    video_id=video['id'],
                    category_id=int(rng.integers(1, 3)),
                    iscrowd=int(rng.random() < 0.4),
                    segmentations=[rle(mask)],
                    areas=[int(mask.sum())]))
            for _ in range(3):
                shift = rng.integers(-2, 3, 2)
                part = np.roll(mask, shift, (0, 1))
                part *= rng.random(part.shape) < 0.9  # no two are the same
                rows.append(
                    result([rle(part)], rng.random(), int(rng.integers(1, 3)),
                           video['id']))
    return gt, rows


@pytest.mark.parametrize('use_categories', [True, False])
def test_crowd_regions_equal_pycocotools_on_images(use_categories):
    gt, rows = _random_images()
    coco = COCO()
    coco.dataset = dict(
        images=gt['videos'],
        categories=gt['categories'],
        annotations=[
            dict(
                id=ann['id'],
                image_id=ann['video_id'],
                category_id=ann['category_id'],
                iscrowd=ann['iscrowd'],
                segmentation=ann['segmentations'][0],
                area=ann['areas'][0]) for ann in gt['annotations']
        ])
    coco.createIndex()
    found = coco.loadRes([
        dict(
            image_id=row['video_id'],
            category_id=row['category_id'],
            score=row['score'],
            segmentation=row['segmentations'][0]) for row in rows
    ])
    official = COCOeval(coco, found, 'segm')
    official.params.useCats = int(use_categories)
    official.evaluate()
    official.accumulate()
    official.summarize()
    stats = evaluate_vis(gt, rows, class_agnostic=True, crowd_regions=True)
    suffix = '' if use_categories else '_agnostic'
    for name, index in dict(
            AP=0, AP50=1, AP75=2, AR1=6, AR10=7, AR100=8).items():
        expected = official.stats[index]
        assert stats[name + suffix] == pytest.approx(expected, abs=1e-12)
    # the official video evaluator has another rule
    assert evaluate_vis(gt, rows)['AP'] < stats['AP']


def test_no_results_and_no_object_of_a_class():
    gt = ground_truth([bar(0, 5), None])
    stats = evaluate_vis(gt, [])
    assert stats['AP'] == stats['AR100'] == 0 and stats['APl'] == -1
    gt = ground_truth([bar(0, 5), None], iscrowd=1)
    with pytest.raises(ValueError, match='all annotations are crowds'):
        evaluate_vis(gt, [])
    gt['annotations'].append(
        dict(gt['annotations'][0], id=9, category_id=1, iscrowd=0))
    assert evaluate_vis(gt, [])['per_class'][2]['AP'] == -1


def test_input_forms_agree(tmp_path):
    gt = ground_truth([bar(0, 5), bar(1, 6)])
    rows = [result([bar(0, 5), bar(0, 5)])]
    before = copy.deepcopy((gt, rows))
    expected = evaluate_vis(gt, rows)
    assert (gt, rows) == before
    with gzip.open(tmp_path / 'gt.json.gz', 'wt') as file:
        json.dump(gt, file)
    (tmp_path / 'rows.json').write_text(json.dumps(rows))
    assert evaluate_vis(str(tmp_path / 'gt.json.gz'),
                        tmp_path / 'rows.json') == expected
    # uncompressed RLE and polygons hold the same pixels
    gt['annotations'][0]['segmentations'][0] = dict(
        size=[1, 10], counts=[0, 5, 5])
    gt['annotations'][0]['segmentations'][1] = [[1, 0, 6, 0, 6, 1, 1, 1]]
    assert evaluate_vis(gt, rows) == expected


def test_order_of_videos_and_rows_does_not_matter():
    case = FOLDERS[0] / 'medium'
    gt, rows = load_json(case / 'gt.json'), load_json(case / 'pred.json')
    expected = evaluate_vis(gt, rows)
    gt['videos'].reverse()
    gt['categories'].reverse()
    rows.sort(key=lambda row: -row['video_id'])
    assert evaluate_vis(gt, rows) == expected


def test_more_masks_than_one_area_call_takes():
    tube = [bar(0, 5)] * 400
    assert mask_areas([tube], 400).tolist() == [[5] * 400]


def test_unknown_category():
    gt = ground_truth([bar(0, 5), None])
    rows = [result([bar(0, 5), None])]
    extra = [result([bar(0, 5), None], category_id=7)]
    assert evaluate_vis(gt, rows + extra) == evaluate_vis(gt, rows)
    with pytest.raises(ValueError, match='result 1, .* category_id 7'):
        evaluate_vis(gt, rows + extra, unknown_category='raise')
    with pytest.raises(ValueError, match="got 'keep'"):
        evaluate_vis(gt, rows, unknown_category='keep')


@pytest.mark.parametrize('row, match', [
    (result([bar(0, 5)]), 'result 1, video 3: .* 2 frames, but got 1'),
    (result([bar(0, 5)] * 3), 'result 1, .* got 3'),
    (result('ab'), 'result 1'),
    (result([None, bar(0, 5, 9)]), r'frame 1: mask size is \[1, 9\], but'),
    (result([None, dict(counts='05')]), 'frame 1: a mask must .* got dict'),
    (result([None, 'abc']), 'frame 1: a mask must .* got str'),
    (result([None, dict(size=[1, 10])]), 'counts'),
    (result([None, dict(size=[1, 10], counts=5)]), 'counts must be a list'),
    (result([None, None], video_id=4), 'result 1, video 4: there is no such'),
    (result([None, None], score=float('nan')), 'score must be .* got nan'),
    (result([None, None], score='0.5'), "score must be .* got '0.5'"),
    (dict(video_id=3, category_id=2, score=1), "key 'segmentations' is"),
    ('row', 'result 1: expected an object, but got str'),
])
def test_bad_results(row, match):
    gt = ground_truth([bar(0, 5), None])
    with pytest.raises(ValueError, match=match):
        evaluate_vis(gt, [result([None, None]), row])


def test_results_must_be_a_list():
    with pytest.raises(ValueError, match='list of rows, got dict'):
        evaluate_vis(ground_truth([bar(0, 5), None]), {})


@pytest.mark.parametrize('change, match', [
    (lambda gt: gt.pop('annotations'), 'no ground truth'),
    (lambda gt: gt.update(annotations=None), 'no ground truth'),
    (lambda gt: gt.update(annotations=[]), 'no ground truth'),
    (lambda gt: gt.update(videos=[]), 'no videos'),
    (lambda gt: gt.pop('categories'), "key 'categories' is missing"),
    (lambda gt: gt.update(categories=[]), 'no categories'),
    (lambda gt: gt['annotations'][1].update(id=1),
     'annotation 1: the id is used twice'),
    (lambda gt: gt['videos'].append(gt['videos'][0]),
     'video 3: the id is used twice'),
    (lambda gt: gt['categories'][0].update(id=1),
     'category 1: the id is used twice'),
    (lambda gt: gt['videos'][0].pop('height'), "video 3: key 'height' is"),
    (lambda gt: gt['videos'][0].pop('length'), "video 3: key 'file_names'"),
    (lambda gt: gt['videos'][0].update(length='2'), 'length must be a pos'),
    (lambda gt: gt['annotations'][1]['areas'].pop(), 'areas must have one'),
    (lambda gt: gt['annotations'][1].update(areas=['x', None]),
     "annotation 2, frame 0: areas must be numbers .* got 'x'"),
    (lambda gt: gt['annotations'][1].update(video_id=8),
     'video 8, annotation 2: there is no such video'),
    (lambda gt: gt['annotations'][1].update(category_id=8),
     'annotation 2: category_id 8 is not among'),
    (lambda gt: gt['annotations'][1]['segmentations'].pop(),
     'video 3, annotation 2: .* got 1'),
    (lambda gt: gt['videos'][0].update(height=2),
     r'annotation 1, frame 0: mask size is \[1, 10\], but .* \[2, 10\]'),
])
def test_bad_ground_truth(change, match):
    gt = ground_truth([bar(0, 5), None], [bar(5, 9), None])
    change(gt)
    with pytest.raises(ValueError, match=match):
        evaluate_vis(gt, [])


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        evaluate_vis(tmp_path / 'none.json', [])
    (tmp_path / 'broken.json').write_text('{"videos": [')
    with pytest.raises(ValueError, match='broken.json is not valid JSON'):
        evaluate_vis(tmp_path / 'broken.json', [])
    (tmp_path / 'gt.json.gz').write_bytes(gzip.compress(b'[]' * 99)[:20])
    with pytest.raises(ValueError, match='gt.json.gz is not valid JSON'):
        evaluate_vis(tmp_path / 'gt.json.gz', [])


def test_processes_share_the_work():
    case = FOLDERS[0] / 'edge'
    files = case / 'gt.json', case / 'pred.json'
    seen = []
    alone = evaluate_vis(*files, num_workers=0)
    shared = evaluate_vis(
        *files, num_workers=2, progress=lambda *args: seen.append(args))
    assert shared == alone
    total = len(seen)
    assert seen == [(done, total) for done in range(1, total + 1)] and total
    with pytest.raises(ValueError, match='negative, got -1'):
        evaluate_vis(*files, num_workers=-1)


def test_pairs_that_fall_behind_are_left():
    # 20 frames; the first tracklet only overlaps in the last one
    far, near = [bar(6, 10)] * 19, [bar(0, 4)] * 20
    objs = [near]
    dets = [far + [bar(0, 4)], near, [bar(1, 5)] * 20]
    areas = mask_areas(dets, 20), mask_areas(objs, 20)
    exact = tube_ious(dets, objs, *areas)[:, 0]
    assert exact.tolist() == [4 / 156, 1, 3 / 5]
    bounded = tube_ious(dets, objs, *areas, min_iou=0.5)[:, 0]
    assert bounded.tolist() == [0, 1, 3 / 5]


def test_distinct_tubes():
    empty = bar(0, 0)
    tubes = [[bar(0, 3), None], [bar(0, 3), empty], [None, bar(0, 3)],
             [dict(bar(0, 3), counts=bar(0, 3)['counts'].encode()), None]]
    assert distinct_tubes(tubes, 2) == [tubes[0], tubes[2]]


def with_occlusion(gt, *labels):
    """Give the objects their occlusion in the two frames."""
    names = [None, 'no_occlusion', 'slight_occlusion', 'severe_occlusion']
    for ann, pair in zip(gt['annotations'], labels):
        ann['occlusion'] = [names[i] for i in pair]
    return gt


def test_occlusion_levels_by_hand():
    # scores: the worse one of two labels; 0 (so), 0.25 (so and mo), 0.75 (ho)
    tubes = [[bar(0, 3)] * 2, [bar(3, 6)] * 2, [bar(6, 9)] * 2]
    gt = with_occlusion(ground_truth(*tubes), (1, 0), (1, 2), (1, 3))
    plain = evaluate_vis(ground_truth(*tubes), [])
    assert 'AP_so' not in plain
    rows = [result(tubes[0], 0.9), result(tubes[1], 0.8)]
    stats = evaluate_vis(gt, rows)
    assert stats['AP'] == pytest.approx(67 / 101)
    assert stats['AP_so'] == pytest.approx(1)
    assert stats['AP_mo'] == pytest.approx(1)  # the first match is ignored
    assert stats['AP_ho'] == 0
    # a false positive counts at every level
    rows.append(result([bar(9, 10)] * 2, 1))
    assert evaluate_vis(gt, rows)['AP_mo'] == pytest.approx(0.5)
    gt['annotations'][1]['iscrowd'] = 1
    assert evaluate_vis(gt, rows)['AP_mo'] == -1


@pytest.mark.parametrize('occlusion, match', [
    (None, 'all objects or none .* annotation 2 has none'),
    (['no_occlusion'], 'annotation 2 needs occlusion .* 2 frames'),
    (['no_occlusion', 'hidden'], "got 'hidden' in annotation 2"),
])
def test_bad_occlusion(occlusion, match):
    tube = [bar(0, 3)] * 2
    gt = with_occlusion(ground_truth(tube, tube), (1, 1))
    gt['annotations'][1]['occlusion'] = occlusion
    with pytest.raises(ValueError, match=match):
        evaluate_vis(gt, [])


def test_class_agnostic_by_hand():
    left, right = [bar(0, 4)] * 2, [bar(5, 9)] * 2
    gt = ground_truth(left, right)
    # the classes of one tracklet; the better one is wrong
    rows = [
        result(left, 0.9, category_id=1),
        result(left, 0.5),
        result(right, 0.7)
    ]
    stats = evaluate_vis(gt, rows, class_agnostic=True)
    assert 'AP_agnostic' not in evaluate_vis(gt, rows)
    assert stats['AP'] == stats['AP_agnostic'] == pytest.approx(1)
    assert stats['AR1_agnostic'] == pytest.approx(0.5)
    # two rows of one class are two results, so the second is wrong
    rows.insert(1, result(left, 0.8, category_id=1))
    stats = evaluate_vis(gt, rows, class_agnostic=True)
    assert stats['AP_agnostic'] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_short_and_long_videos():
    tube = [bar(0, 4)] * 2
    gt = ground_truth(tube)
    gt['videos'].append(dict(id=7, width=10, height=1, length=3))
    gt['annotations'].append(
        dict(
            gt['annotations'][0],
            id=2,
            video_id=7,
            areas=None,
            segmentations=[*tube, bar(0, 4)]))
    rows = [result(tube)]
    stats = evaluate_vis(gt, rows, short_videos=2)
    assert stats['AP_short'] == pytest.approx(1) and stats['AP_long'] == 0
    assert stats['AR100'] == 0.5 and stats['AR1_short'] == 1
    assert evaluate_vis(gt, rows, short_videos=3)['AP_long'] == -1
    with pytest.raises(ValueError, match='need file_names, video 3'):
        evaluate_vis(
            gt, rows, short_videos=dict(videos=[dict(file_names=['a/0.jpg'])]))
    for video, folder in zip(gt['videos'], 'ab'):
        video['file_names'] = [
            f'{folder}/{i}.jpg' for i in range(video['length'])
        ]
    short = dict(videos=[dict(file_names=['b/0.jpg'])])
    stats = evaluate_vis(gt, rows, short_videos=short)
    assert stats['AP_long'] == pytest.approx(1) and stats['AP_short'] == 0
    short['videos'][0]['file_names'] = ['c/0.jpg']
    with pytest.raises(ValueError, match='short_videos .* none'):
        evaluate_vis(gt, rows, short_videos=short)


@pytest.mark.parametrize('counts, match', [
    ([0, 5],
     'result 1, video 3, frame 1: .* cover 5 pixels, but the frame has 10'),
    ('05',
     'result 1, video 3, frame 1: .* cover 5 pixels, but the frame has 10'),
    ('0 5', "result 1, video 3, frame 1: RLE counts must .* got '0 5'"),
])
def test_broken_codes(counts, match):
    tube = [bar(0, 5), None]
    gt = ground_truth(tube)
    rows = [result(tube), result([None, dict(size=[1, 10], counts=counts)])]
    with pytest.raises(ValueError, match=match):
        evaluate_vis(gt, rows, check_masks=True)
    gt['annotations'][0]['segmentations'][0] = rows[1]['segmentations'][1]
    with pytest.raises(
            ValueError, match='video 3, annotation 1, frame 0: RLE counts'):
        evaluate_vis(gt, rows[:1], check_masks=True)
