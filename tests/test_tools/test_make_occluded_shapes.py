# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import os

import cv2
import pytest

from tests.tool_module import load_tool


@pytest.fixture(scope='module')
def main():
    return load_tool('dataset_converters/make_occluded_shapes.py').main


SHORT = ['--objects', '3', '4', '--frames', '20', '22']


def _contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*')) if path.is_file()
    }


def test_same_seeds_same_bytes(main, tmp_path, capsys):
    splits = ['--split', 'train:2:3', '--split', 'valid:1:9']
    sheet = str(tmp_path / 'sheet.png')
    first, second = tmp_path / 'first', tmp_path / 'second'
    assert main([str(first), *splits, *SHORT, '--preview', sheet]) == 0
    assert main([str(second), *splits, *SHORT]) == 0
    assert _contents(first) == _contents(second)
    assert sorted(os.listdir(first)) == [
        'statistics.json', 'train', 'train.json', 'valid', 'valid.json'
    ]
    stats = json.loads((first / 'statistics.json').read_text())
    assert stats['train']['videos'] == 2 and stats['valid']['seed'] == 9
    out = capsys.readouterr().out
    assert 'objects per frame' in out and 'complete occlusions' in out
    assert cv2.imread(sheet).shape == (3 * 2 * 130, 6 * 194, 3)


def test_refuses_to_overwrite(main, tmp_path, capsys):
    keep = tmp_path / 'out' / 'precious'
    keep.parent.mkdir()
    keep.touch()
    args = [str(keep.parent), '--split', 'a:1:0', *SHORT]
    assert main(args) == 1
    error = capsys.readouterr().err
    assert '--force' in error and error.count('\n') == 1
    assert keep.exists()
    assert main([*args, '--force']) == 0
    assert sorted(os.listdir(
        keep.parent)) == ['a', 'a.json', 'statistics.json']


@pytest.mark.parametrize('args, message', [
    (['--size', '20', '20'], 'at least 64 x 64'),
    (['--objects', '5', '3'], 'num_objects'),
])
def test_failure_leaves_nothing(main, tmp_path, capsys, args, message):
    assert main([str(tmp_path / 'out'), *args]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert os.listdir(tmp_path) == []


def test_unwritable_folder(main, tmp_path, capsys):
    (tmp_path / 'file').touch()
    assert main([str(tmp_path / 'file' / 'out'), '--split', 'a:1:0']) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert str(tmp_path / 'file') in error


@pytest.mark.parametrize('split', ['train', 'a:0:0', 'a:b:c', '../a:1:0'])
def test_bad_split(main, tmp_path, capsys, split):
    with pytest.raises(SystemExit):
        main([str(tmp_path / 'out'), '--split', split])
    assert 'got' in capsys.readouterr().err
