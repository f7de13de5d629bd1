# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

from refinevis_mm.vis_json import ERROR, LEVELS, NOTE, OVIS, WARNING
from tests.tiny_vis_json import DATA_SET, RESULTS

TOOL = runpy.run_path(
    str(
        Path(__file__).parents[2] / 'tools' / 'analysis_tools' /
        'validate_vis.py'))


@pytest.fixture
def folder(tmp_path):
    """A faultless data set with one of its frames on disk, and results."""
    (tmp_path / 'gt.json').write_text(json.dumps(DATA_SET))
    (tmp_path / 'results.json').write_text(json.dumps(RESULTS))
    (tmp_path / 'v').mkdir()
    Image.new('RGB', (4, 3)).save(tmp_path / 'v' / '0.jpg')
    return tmp_path


def change(folder, name, edit):
    """Rewrite a JSON of the folder."""
    content = json.loads((folder / name).read_text())
    edit(content)
    (folder / name).write_text(json.dumps(content))


def run(folder, *args):
    """Exit code and report of the tool."""
    code = TOOL['main']([
        str(folder / 'gt.json'), *map(str, args), '--json',
        str(folder / 'report.json')
    ])
    return code, json.loads((folder / 'report.json').read_text())


def test_faultless(folder, capsys):
    code, report = run(folder, '--results', folder / 'results.json')
    assert code == 0 and report == dict(
        valid=True,
        categories=2,
        videos=1,
        annotations=1,
        errors=0,
        warnings=0,
        notes=0,
        codes={},
        defects=[])
    assert capsys.readouterr().out == (
        '2 categories, 1 videos, 1 annotations: 0 errors, 0 warnings, 0 '
        'notes\n')


def test_all_defects_are_listed(folder, capsys):

    def edit(content):
        annotation = content['annotations'][0]
        annotation['bboxes'][0] = [1, 0, 9, 3]
        annotation['iscrowd'] = 3
        del content['videos'][0]['length']
        content['annotations'].append(
            dict(annotation, segmentations=[None], bboxes=None))

    change(folder, 'gt.json', edit)
    change(folder, 'results.json', lambda rows: rows[0].update(score=None))
    code, report = run(folder, '--frames', folder, '--results',
                       folder / 'results.json')
    assert code == 1 and not report['valid']
    assert report['codes'] == {
        'no-length': 1,
        'box-outside': 1,
        'iscrowd': 2,
        'duplicate-id': 1,
        'wrong-length': 1,
        'missing-frame': 1,
        'score': 1
    }
    assert (report['errors'], report['warnings'], report['notes']) == (5, 2, 1)
    outside, = (d for d in report['defects'] if d['code'] == 'box-outside')
    assert outside.pop('message')
    assert outside == dict(
        source=str(folder / 'gt.json'),
        level='warning',
        code='box-outside',
        video=7,
        annotation=11,
        frame=0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith('5 errors, 2 warnings, 1 notes')
    levels = [line.split()[0] for line in lines[:-1]]
    assert levels == ['error'] * 5 + ['warning'] * 2 + ['note']
    assert any(f'{folder}: video 7, frame 1: ' in line for line in lines)


def test_notes_are_no_failure(folder):
    change(folder, 'gt.json', lambda content: content.pop('annotations'))
    code, report = run(folder)
    assert code == 0 and report['codes'] == {'no-annotations': 1}


def test_ignore(folder):
    args = ('--frames', folder)
    assert run(folder, *args)[0] == 1
    assert run(folder, *args, '--ignore', 'missing-frame')[0] == 0


def test_preset(folder, capsys):
    assert run(folder, '--preset', 'ovis')[1]['codes'] == {'preset-classes': 1}
    names = (*OVIS[:24], 'Vehicle')
    change(
        folder, 'gt.json', lambda content: content.update(categories=[
            dict(id=i, name=name) for i, name in enumerate(names, 1)
        ]))
    assert run(folder, '--preset', 'ovis')[0] == 0


def test_long_lists_are_cut(folder, capsys):
    change(folder, 'results.json', lambda rows: rows.extend(rows * 4))
    code = TOOL['main']([
        str(folder / 'gt.json'), '--results',
        str(folder / 'results.json'), '--max-lines', '2'
    ])
    lines = capsys.readouterr().out.splitlines()
    assert code == 1 and len(lines) == 4 and lines[2].endswith(': 2 more')


@pytest.mark.parametrize('args', [
    ['nowhere.json'],
    ['gt.json', '--frames', 'nowhere'],
    ['gt.json', '--results', 'bad.json'],
])
def test_files_that_cannot_be_read(args, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / 'bad.json').write_text('{')
    assert TOOL['main'](args) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1


def test_all_kinds_of_defects_are_documented():
    text = (Path(__file__).parents[2] / 'docs' / 'data.md').read_text()
    rows = {
        row.split('|')[1].strip(): re.findall(r'`([\w-]+)`',
                                              row.split('|')[2])
        for row in text.split('## The validator')[1].splitlines()
        if row.startswith('|')
    }
    for level in (ERROR, WARNING, NOTE):
        codes = [code for code in LEVELS if LEVELS[code] == level]
        assert sorted(rows[level]) == sorted(codes)
