# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Cases by hand: objects are bars of 4 pixels in a line of 40.

Bars that are 1, 2 or 3 pixels apart have an IoU of 3/5, 2/6 or 1/7.
"""
import copy
import json
import sys

import pytest

from refinevis_mm.evaluation.recovery_eval import evaluate_recovery
from tests.test_evaluation.test_tracking_eval import ground_truth, result
from tests.tiny_vis_json import DATA_SET, RESULTS
from tests.tool_module import load_tool

OBJECT = [0, 0, 0, 0, 0, None]
VISIBILITY = [1, 0.5, 0.499, 0.1, 0.099, 0]
FRAME_LEVEL = [0, 1, 3, None, None, None]
REFINED = [0, 1, 2, 0, 1, 0]


def with_visibility(gt, *visibility):
    """The same visibility of the objects in all videos."""
    for i, ann in enumerate(gt['annotations']):
        ann['visibility'] = list(visibility[i % len(visibility)])
    return gt


@pytest.fixture
def case():
    """One object, occluded more and more; frame level and refined."""
    gt = with_visibility(ground_truth(OBJECT), VISIBILITY)
    return gt, [result(FRAME_LEVEL)], [result(REFINED)]


def check(numbers, subset, count, *means):
    """Compare the means of a subset."""
    part = numbers['iou'].get(subset) or numbers['hallucinated'][subset]
    assert part['count'] == count, subset
    assert part['mean'] == pytest.approx(means, abs=1e-12), subset
    gains = [mean - means[0] for mean in means]
    assert part['gain'] == pytest.approx(gains, abs=1e-12), subset


def test_subsets(case):
    gt, frame_level, refined = case
    numbers = evaluate_recovery(gt, frame_level, [refined, frame_level])
    assert list(numbers['iou']) == [
        'all', '0-50 % occluded', '50-90 % occluded', '> 90 % occluded',
        'missed', 'undetected', '50-90 % occluded or missed'
    ]
    # IoUs of frames 0-4: 1, 3/5, 1/7, 0, 0 and 1, 3/5, 1/3, 1, 3/5
    total, later = 1.6 + 1 / 7, 2.2 + 1 + 1 / 3
    check(numbers, 'all', 5, total / 5, later / 5, total / 5)
    check(numbers, '0-50 % occluded', 2, 0.8, 0.8, 0.8)
    check(numbers, '50-90 % occluded', 2, 1 / 14, 2 / 3, 1 / 14)
    check(numbers, '> 90 % occluded', 1, 0, 0.6, 0)
    check(numbers, 'missed', 2, 0, 0.8, 0)
    check(numbers, 'undetected', 2, 0, 0.8, 0)
    hard = (1 / 3 + 1.6) / 3
    check(numbers, '50-90 % occluded or missed', 3, 1 / 21, hard, 1 / 21)
    check(numbers, 'absent', 1, 0, 1, 0)
    check(numbers, 'hidden', 1, 0, 1, 0)


def test_hidden_frames_are_those_inside_the_picture():
    gt = with_visibility(
        ground_truth([0, None, None, None]), [1, 0, None, None])
    numbers = evaluate_recovery(gt, [result([0, 0, 0, 0])],
                                [[result([0, 0, 0, None])]])
    check(numbers, 'absent', 3, 1, 2 / 3)
    check(numbers, 'hidden', 1, 1, 1)


def test_without_visibility(case):
    gt, frame_level, refined = case
    del gt['annotations'][0]['visibility']
    numbers = evaluate_recovery(gt, frame_level, [refined])
    assert list(numbers['iou']) == ['all', 'missed', 'undetected']
    assert list(numbers['hallucinated']) == ['absent']
    check(numbers, 'missed', 2, 0, 0.8)


def test_best_tube_carries_the_object():
    # pieces of 2 and 3 frames, as after an identity switch, and one with
    # more of the frames but less of the pixels
    gt = ground_truth([0, 0, 0, 0, 0])
    pieces = [
        result([0, 0, None, None, None], score=0.9),
        result([None, None, 0, 0, 0], score=0.1, category_id=2),
        result([3, 3, 3, 3, 3], score=0.8)
    ]
    numbers = evaluate_recovery(gt, pieces, [[result([2] * 5)]])
    check(numbers, 'all', 5, 3 / 5, 1 / 3)
    check(numbers, 'missed', 2, 0, 1 / 3)


def test_frames_lost_to_another_tracklet_are_detected():
    # lost in frames 1 to 4; the second tracklet overlaps there by 3/5 and 1/7
    gt = ground_truth([0, 0, 0, 0, 0, 0])
    frame_level = [
        result([0, None, None, None, None, 0]),
        result([None, 1, 3, None, None, None])
    ]
    numbers = evaluate_recovery(gt, frame_level, [[result([2] * 6)]])
    check(numbers, 'missed', 4, 0, 1 / 3)
    check(numbers, 'undetected', 3, 0, 1 / 3)


def test_classes_of_a_tracklet_count_once(case):
    gt, frame_level, refined = case
    expected = evaluate_recovery(gt, frame_level, [refined])
    twice = [
        dict(row, category_id=category_id, score=score) for row in refined
        for category_id, score in ((2, 0.9), (1, 0.2))
    ]
    assert evaluate_recovery(gt, frame_level, [twice]) == expected


def test_object_without_a_tracklet():
    # the only tracklet never touches the second object
    gt = ground_truth([0, 0, 0], [20, 20, None])
    numbers = evaluate_recovery(gt, [result([0, 0, 0])], [[]])
    check(numbers, 'all', 5, 3 / 5, 0)
    check(numbers, 'missed', 2, 0, 0)
    check(numbers, 'absent', 1, 0, 0)


def test_standard_error_over_videos():
    # IoUs 1, 1 and 0, 1: sums differ from 2 * 3/4 by +1/2 and -1/2
    gt = ground_truth([0, 0], num_videos=2)
    results = [result([0, 0]), result([20, 0], video_id=6)]
    part = evaluate_recovery(gt, [], [results])['iou']['all']
    assert part['num_videos'] == 2
    assert part['mean'] == [0, 0.75]
    expected = [0, (2 * (0.25 + 0.25))**0.5 / 4]
    assert part['se'] == pytest.approx(expected)
    assert part['gain_se'] == pytest.approx(expected)
    # a video with one object-frame: 1, 1 and 0 differ by +2/3 and -2/3
    gt['annotations'][1]['segmentations'][1] = None
    part = evaluate_recovery(gt, [], [results])['iou']['all']
    assert part['mean'] == pytest.approx([0, 2 / 3])
    assert part['se'] == pytest.approx([0, (2 * 8 / 9)**0.5 / 3])


def test_paired_difference_has_a_smaller_error():
    # videos of IoU 1 and 1/7, both 1/5 better than before refinement
    gt = ground_truth([0], num_videos=2)
    frame_level = [result([1]), result([3], video_id=6)]
    refined = [result([0]), result([1], video_id=6)]
    part = evaluate_recovery(gt, frame_level, [refined])['iou']['all']
    gains = 1 - 3 / 5, 3 / 5 - 1 / 7
    assert part['gain'][1] == pytest.approx(sum(gains) / 2)
    # of two values the error of the mean is half their distance
    assert part['gain_se'][1] == pytest.approx((gains[1] - gains[0]) / 2)
    assert part['se'] == pytest.approx([(3 / 5 - 1 / 7) / 2, 0.2])


def test_empty_subset_and_single_video(case):
    gt, frame_level, refined = case
    gt['annotations'][0]['visibility'] = [1] * 5 + [None]
    numbers = evaluate_recovery(gt, frame_level, [refined])
    part = numbers['iou']['> 90 % occluded']
    assert part == dict(
        count=0,
        num_videos=0,
        mean=[None] * 2,
        se=[None] * 2,
        gain=[None] * 2,
        gain_se=[None] * 2)
    assert numbers['iou']['all']['se'] == [None] * 2
    assert numbers['hallucinated']['hidden']['count'] == 0


def test_crowds_do_not_count(case):
    gt, frame_level, refined = case
    expected = evaluate_recovery(gt, frame_level, [refined])
    crowd = dict(copy.deepcopy(gt['annotations'][0]), id=99, iscrowd=1)
    del crowd['visibility']
    gt['annotations'].append(crowd)
    assert evaluate_recovery(gt, frame_level, [refined]) == expected
    gt['annotations'].pop(0)
    with pytest.raises(ValueError, match='all annotations are crowds'):
        evaluate_recovery(gt, frame_level, [refined])


def test_polygons_and_inputs_stay(case):
    gt, frame_level, refined = case
    expected = evaluate_recovery(gt, frame_level, [refined])
    tube = gt['annotations'][0]['segmentations']
    gt['annotations'][0]['segmentations'] = [
        mask and [[0, 0, 4, 0, 4, 1, 0, 1]] for mask in tube
    ]
    before = copy.deepcopy((gt, frame_level, refined))
    assert evaluate_recovery(gt, frame_level, [refined]) == expected
    assert before == (gt, frame_level, refined)


def test_refuses_visibility_of_some_objects(case):
    gt, frame_level, refined = case
    gt['annotations'].append(dict(gt['annotations'][0], id=7))
    del gt['annotations'][1]['visibility']
    with pytest.raises(ValueError, match='annotation 7 has none'):
        evaluate_recovery(gt, frame_level, [refined])


@pytest.mark.parametrize('visibility, message', [
    ([1, 1], 'for each of 6 frames'),
    (0.5, 'for each of 6 frames'),
    ([1, 1, 1, 1, 1.2, 0], r'got 1.2 in frame 4 of annotation 0'),
    ([1, None, 1, 1, 1, 0], r'got None in frame 1 of annotation 0'),
    ([1, 'a', 1, 1, 1, 0], r"got 'a' in frame 1 of annotation 0"),
    ([1, float('nan'), 1, 1, 1, 0], r'got nan in frame 1'),
])
def test_refuses_bad_visibility(case, visibility, message):
    gt, frame_level, refined = case
    gt['annotations'][0]['visibility'] = visibility
    with pytest.raises(ValueError, match=message):
        evaluate_recovery(gt, frame_level, [refined])


def test_refuses_results_of_other_videos(case):
    gt, frame_level, _ = case
    with pytest.raises(ValueError, match='video 9: there is no such video'):
        evaluate_recovery(gt, frame_level, [[result(REFINED, video_id=9)]])


@pytest.fixture
def files(case, tmp_path):
    """Annotations and both results as files."""
    paths = []
    for name, content in zip(('gt', 'w0', 'offline'), case):
        paths.append(tmp_path / f'{name}.json')
        paths[-1].write_text(json.dumps(content))
    return paths


@pytest.fixture
def tool(monkeypatch):
    """Run the tool in this process."""
    module = load_tool('analysis_tools/eval_recovery.py')

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [module.__file__, *map(str, args)])
        module.main()

    return run


def test_tool_prints_tables(tool, files, capsys):
    tool(*files)
    cells = {
        line.split('|')[1].strip():
        [cell.strip() for cell in line.split('|')[2:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('|')
    }
    assert cells['mean IoU'] == [
        'object-frames', 'videos', 'frame level', 'offline', 'difference'
    ]
    assert cells['missed'] == ['2', '1', '0.00', '80.00', '+80.00']
    assert cells['hidden'] == ['1', '1', '0.00', '100.00', '+100.00']
    assert len(cells) == 11


def test_tool_names_files_of_one_name_by_their_folders(tool, files, capsys):
    other = files[0].parent / 'seed1' / 'offline.json'
    other.parent.mkdir()
    other.write_text(files[2].read_text())
    tool(*files, other)
    head = capsys.readouterr().out.splitlines()[1]
    assert f' {files[2]} ' in head and f' {other} ' in head


def test_tool_prints_json(tool, files, capsys):
    tool(*files, '--json')
    numbers = json.loads(capsys.readouterr().out)
    assert numbers['iou']['missed']['mean'] == pytest.approx([0, 0.8])


def test_tool_names_videos_without_results(tool, files, capsys):
    files[2].write_text('[]')
    tool(*files)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(
        f'{files[2]}: 1 of 1 videos have no results: video_id ')
    assert not lines[-2].startswith(str(files[1]))
    tool(*files, '--json')
    output = capsys.readouterr()
    assert json.loads(output.out)['iou'] and lines[-1] in output.err


def test_tool_refuses_files(tool, files, capsys):
    files[2].write_text('[')
    with pytest.raises(SystemExit, match='error: .*offline.json is not val'):
        tool(*files)
    with pytest.raises(SystemExit) as error:
        tool(*files[:2])
    assert error.value.code == 2
    assert not capsys.readouterr().out


def test_codes_are_checked_if_asked_for():
    """Masks of different numbers of pixels keep pycocotools busy."""
    gt, results = copy.deepcopy(DATA_SET), copy.deepcopy(RESULTS)
    results[0]['segmentations'][0]['counts'] = '335'
    with pytest.raises(ValueError, match='cover 11 pixels'):
        evaluate_recovery(gt, RESULTS, [results], check_masks=True)
