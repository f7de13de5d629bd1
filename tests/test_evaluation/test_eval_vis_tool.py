# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from refinevis_mm.vis_json import find_defects
from tests.tool_module import load_tool

ROOT = Path(__file__).parents[2]
CASES = ROOT / 'tests' / 'data' / 'metric'


@pytest.fixture(scope='module')
def tool():
    """The command line tool as a module."""
    return load_tool('analysis_tools/eval_vis.py')


def test_table(tool, capsys):
    case = CASES / 'small'
    assert tool.main([str(case / 'gt.json'), str(case / 'pred.json')]) == 0
    output = capsys.readouterr()
    assert '100.0%' in output.err or '/' in output.err  # the progress bar
    lines = output.out.splitlines()
    cells = {
        line.split('|')[1].strip():
        [cell.strip() for cell in line.split('|')[2:-1]]
        for line in lines if line.startswith('|')
    }
    assert list(cells) == ['class', 'person', 'dog', 'all']
    assert 'classes without objects and results: 1' in lines  # fish
    assert cells['all'][:4] == ['37.05', '80.53', '33.66', '37.05']


def test_classes_that_occur_nowhere_are_counted(tool, capsys, tmp_path):
    case = CASES / 'small'
    gt = json.loads((case / 'gt.json').read_text())
    gt['categories'] += [
        dict(id=100 + i, name=f'nothing {i}') for i in range(3)
    ]
    (tmp_path / 'gt.json').write_text(json.dumps(gt))
    files = [str(tmp_path / 'gt.json'), str(case / 'pred.json')]
    assert tool.main(files) == 0
    output = capsys.readouterr().out
    assert 'dog' in output and 'nothing' not in output
    assert 'classes without objects and results: 4' in output
    assert tool.main([*files, '--json']) == 0
    rows = json.loads(capsys.readouterr().out)['per_class']
    assert [rows['100'][name] for name in ('num_objects', 'num_results')] == \
        [0, 0]
    dogs, = (row for row in rows.values() if row['name'] == 'dog')
    results = json.loads((case / 'pred.json').read_text())
    dog, = (row['id'] for row in gt['categories'] if row['name'] == 'dog')
    for name, part in (('num_objects', gt['annotations']), ('num_results',
                                                            results)):
        assert dogs[name] == sum(row['category_id'] == dog for row in part) > 0


def test_json(tool, capsys):
    case = CASES / 'edge_no_results'
    files = [str(case / 'gt.json'), str(case / 'pred.json')]
    assert tool.main([*files, '--json']) == 0
    assert json.loads(capsys.readouterr().out)['AP'] == 0


def test_videos_without_results(tool, capsys, tmp_path):
    case = CASES / 'small'
    gt = json.loads((case / 'gt.json').read_text())
    lost = gt['videos'][1]['id']
    rows = [
        row for row in json.loads((case / 'pred.json').read_text())
        if row['video_id'] != lost
    ]
    (tmp_path / 'rows.json').write_text(json.dumps(rows))
    files = [str(case / 'gt.json'), str(tmp_path / 'rows.json')]
    said = (f'1 of 2 videos have no results: video_id {lost} '
            f'({gt["videos"][1]["file_names"][0]})')
    assert tool.main([*files, '--no-progress']) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == said and not output.err
    assert tool.main([*files, '--no-progress', '--json']) == 0
    output = capsys.readouterr()
    assert output.err == f'{said}\n' and json.loads(output.out)['AP'] > 0


def test_the_log_is_not_among_the_numbers(tool, capsys, monkeypatch):
    monkeypatch.setattr(MMLogger, '_instance_dict', {})
    case = CASES / 'edge'
    files = [str(case / 'gt.json'), str(case / 'pred.json')]
    assert tool.main([*files, '--no-progress', '--json']) == 0
    output = capsys.readouterr()
    assert 'are dropped: 99' in output.err
    assert json.loads(output.out)['AP'] > 0


def test_a_point_is_refused_in_the_words_of_the_validator(
        tool, capsys, tmp_path):
    case = CASES / 'small'
    gt = json.loads((case / 'gt.json').read_text())
    tube = gt['annotations'][0]['segmentations']
    frame = next(t for t, mask in enumerate(tube) if mask)
    tube[frame] = [[4, 3]]
    (tmp_path / 'gt.json').write_text(json.dumps(gt))
    files = [str(tmp_path / 'gt.json'), str(case / 'pred.json')]
    assert tool.main([*files, '--no-progress']) == 1
    defect, = (d for d in find_defects(gt) if d.code == 'mask-form')
    assert capsys.readouterr().err == f'error: the ground truth: {defect}\n'


def test_refusals(tool, capsys, tmp_path):
    case = CASES / 'edge'
    files = [str(case / 'gt.json'), str(case / 'pred.json')]
    assert tool.main([*files, '--strict']) == 1
    assert 'category_id 99 is not among' in capsys.readouterr().err
    assert tool.main([files[0], str(case / 'none.json')]) == 1
    output = capsys.readouterr()
    assert not output.out and len(output.err.splitlines()) == 1
    bad = tmp_path / 'bad.json'
    rows = json.loads((case / 'pred.json').read_text())
    for mask in filter(None, rows[0]['segmentations']):
        mask['counts'] = '05'
    bad.write_text(json.dumps(rows))
    assert tool.main([files[0], str(bad)]) == 1
    assert 'result 0, ' in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        tool.main([files[0]])
    assert error.value.code == 2


def test_extras(tool, capsys, tmp_path):
    case = CASES / 'small'
    gt = json.loads((case / 'gt.json').read_text())
    for ann in gt['annotations']:
        ann['occlusion'] = ['severe_occlusion'] * len(ann['segmentations'])
    (tmp_path / 'gt.json').write_text(json.dumps(gt))
    files = [str(tmp_path / 'gt.json'), str(case / 'pred.json')]
    args = ['--class-agnostic', '--short-videos=5', '--no-progress']
    assert tool.main([*files, *args, '--num-workers=0']) == 0
    output = capsys.readouterr()
    assert not output.err
    for text in ('all, short videos', 'all, long videos',
                 'all, classes as one', 'AP_ho (heavily occluded)'):
        assert text in output.out
    assert output.out.splitlines()[-2].split('|')[3].strip() == '37.05'


def test_tracking(tool, capsys):
    case = CASES / 'small'
    files = [str(case / 'gt.json'), str(case / 'pred.json')]
    assert tool.main([*files, '--tracking']) == 0
    output = capsys.readouterr().out
    assert '37.05' in output and 'score >= 0.3' in output
    *_, names, _, cells, _ = output.splitlines()
    row = {
        name.strip(): cell.strip()
        for name, cell in zip(names.split('|'), cells.split('|'))
    }
    # TrackEval 1.3.0 gives the same numbers on the same IoUs.
    assert row['IDF1'] == '59.26' and row['switches'] == '9'
    assert row['MOTA'] == '-21.43' and row['object-frames'] == '28'

    assert tool.main([*files, '--tracking', '--score-thr=0', '--json']) == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats['AP'] == pytest.approx(0.3705, abs=1e-4)
    assert stats['tracking']['idtp'] == 24
    assert stats['tracking']['num_pred'] == 54


def test_score_thr_needs_tracking(tool):
    with pytest.raises(SystemExit) as error:
        tool.main(['gt.json', 'pred.json', '--score-thr', '0.5'])
    assert error.value.code == 2


def test_best_tracklet_and_crowd_regions(tool, capsys):
    case = CASES / 'medium'
    files = [str(case / 'gt.json'), str(case / 'pred.json')]
    args = [*files, '--no-progress', '--best-tracklet']
    assert tool.main(args) == 0
    plain = capsys.readouterr().out.splitlines()
    assert tool.main([*args, '--crowd-regions', '--json']) == 0
    stats = json.loads(capsys.readouterr().out)
    numbers = stats['best_tracklet']
    assert plain[-1] == (f'J of the best tracklet: {100 * numbers["J"]:.2f} '
                         f'({len(numbers["per_object"])} objects)')
    assert len(numbers['per_object']) == 29 - 4  # of which 4 are crowds
    assert tool.main([*args, '--json']) == 0
    # fewer results are wrong
    assert json.loads(capsys.readouterr().out)['AP'] < stats['AP']
