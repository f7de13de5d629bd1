# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A folder of a fleet evaluated as one results file."""
import io
import json

import pytest

from refinevis_mm.evaluation import evaluate_vis
from refinevis_mm.fleet import (FleetProgress, SerialEngine,
                                load_fleet_results, read_units, run_fleet)
from refinevis_mm.vis_json import check_results
from tests.tiny_files import CLASSES
from tests.tiny_fleet import tiny_settings, write_clips
from tests.tool_module import load_tool


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Results of three clips, and annotations that are one of them."""
    root = tmp_path_factory.mktemp('results')
    write_clips(root / 'clips', 3)
    settings = tiny_settings(root, root / 'out')
    run_fleet(
        read_units(f'{root}/clips/*'),
        settings,
        lambda: SerialEngine(settings),
        progress=FleetProgress(io.StringIO()))
    # other ids, another order, another spelling
    categories = [
        dict(id=10 * index + 7, name=name.upper())
        for index, name in reversed(list(enumerate(CLASSES)))
    ]
    lengths = {41: ('clip002', 8), 12: ('clip000', 6)}
    videos = [
        dict(
            id=video_id,
            width=80,
            height=60,
            file_names=[f'valid/{name}/{k}.png' for k in range(length)])
        for video_id, (name, length) in lengths.items()
    ]
    rows = json.loads((root / 'out/videos/clip000/results.json').read_text())
    named = [row for row in rows if row['category_id'] <= len(CLASSES)]
    best = max(named, key=lambda row: row['score'])
    annotation = dict(
        id=1,
        video_id=12,
        category_id=10 * (best['category_id'] - 1) + 7,
        iscrowd=0,
        segmentations=best['segmentations'],
        bboxes=[[0, 0, 8, 8]] * 6,
        areas=[64] * 6)
    gt = dict(videos=videos, categories=categories, annotations=[annotation])
    (root / 'gt.json').write_text(json.dumps(gt))
    return root


@pytest.fixture
def gt(root):
    return json.loads((root / 'gt.json').read_text())


def test_ids_are_those_of_the_annotations(root, gt):
    rows = load_fleet_results(str(root / 'out'), gt)
    checked = check_results(gt, rows, check_masks=True)
    assert 0 < len(checked) < len(rows)  # some labels have no names
    assert {row['video_id'] for row in rows} == {41, 12}
    own = json.loads((root / 'out/videos/clip002/results.json').read_text())
    assert [(row['score'], row['category_id']) for row in checked
            if row['video_id'] == 41
            ] == [(row['score'], 10 * (row['category_id'] - 1) + 7)
                  for row in own if row['category_id'] <= len(CLASSES)]
    category_id = gt['annotations'][0]['category_id']
    stats = evaluate_vis(gt, rows)
    assert stats['per_class'][category_id]['AR1'] == 1.


def test_the_tool_takes_the_folder(root, capsys):
    tool = load_tool('analysis_tools/eval_vis.py')
    assert tool.main([str(root / 'gt.json'), str(root / 'out')]) == 0
    assert 'CAT' in capsys.readouterr().out
    assert tool.main([str(root / 'gt.json'), str(root / 'clips')]) == 1
    assert 'manifest.json' in capsys.readouterr().err


def test_what_does_not_fit(root, gt):
    gt['categories'][0]['name'] = 'zebra'
    with pytest.raises(
            ValueError,
            match='must be the categories of the '
            "annotations, \\['zebra'"):
        load_fleet_results(str(root / 'out'), gt)
    for video in gt['videos']:
        video['file_names'] = ['elsewhere/0.png']
    with pytest.raises(ValueError, match='no results of the annotated videos'):
        load_fleet_results(str(root / 'out'), gt)


def test_a_damaged_result_is_named(root, gt):
    path = root / 'out/videos/clip002/results.json'
    content = path.read_text()
    try:
        for damage in ('{', '[1]', '[{}]', '[{"category_id": 0}]'):
            path.write_text(damage)
            with pytest.raises(ValueError, match='results.json of "clip002"'):
                load_fleet_results(str(root / 'out'), gt)
    finally:
        path.write_text(content)
