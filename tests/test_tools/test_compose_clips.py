# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.vis_json import find_defects
from tests.tiny_clips import write_rectangles

TOOL = str(
    Path(__file__).parents[2] / 'tools/dataset_converters/compose_clips.py')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp('source')
    write_rectangles(root)
    return root


def _run(monkeypatch, source, out, *options):
    monkeypatch.setattr(sys, 'argv', [
        TOOL,
        str(source / 'train.json'),
        str(source),
        str(out), '--number', '3', '--length', '6', '9', *options
    ])
    runpy.run_path(TOOL, run_name='__main__')
    return json.loads((out / 'valid.json').read_text())


def _contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*')) if path.is_file()
    }


def test_written_data(monkeypatch, source, tmp_path, capsys):
    content = _run(monkeypatch, source, tmp_path / 'out')
    assert [str(defect) for defect in find_defects(content)] == []
    assert [item['name'] for item in content['categories']] == ['box', 'bar']
    assert [video['id'] for video in content['videos']] == [1, 2, 3]
    shares = []
    for annotation in content['annotations']:
        length = content['videos'][annotation['video_id'] - 1]['length']
        assert 6 <= length <= 9
        assert len(annotation['visibility']) == length
        for share, mask in zip(annotation['visibility'],
                               annotation['segmentations']):
            # null: outside of the frame or hidden
            assert (mask is None) == (not share)
            shares.append(share)
    assert None in shares and 0 in shares and 1 in shares
    stats = json.loads((tmp_path / 'out/statistics.json').read_text())
    assert stats['valid']['instances'] == len(content['annotations'])
    assert stats['valid']['complete_occlusions'] > 0
    assert '"complete_occlusions"' in capsys.readouterr().out


def test_masks_of_a_frame_do_not_overlap(monkeypatch, source, tmp_path):
    content = _run(monkeypatch, source, tmp_path / 'out', '--seed', '4')
    for video in content['videos']:
        for t in range(video['length']):
            total = np.zeros((video['height'], video['width']), int)
            for annotation in content['annotations']:
                mask = annotation['segmentations'][t] \
                    if annotation['video_id'] == video['id'] else None
                if mask is not None:
                    total += mask_utils.decode(
                        mask_utils.frPyObjects(mask, *mask['size']))
            assert total.max() <= 1


def test_same_seed_same_bytes(monkeypatch, source, tmp_path):
    outs = [tmp_path / name for name in ('a', 'b', 'c')]
    for out, seed in zip(outs, '001'):
        _run(monkeypatch, source, out, '--seed', seed)
    first, second, third = map(_contents, outs)
    assert first == second
    assert first != third


@pytest.mark.parametrize('options, reason', [
    (['--objects', '3', '2'], '--objects must be positive and ascending'),
    (['--number', '0'], '--number must be at least 1'),
    (['--split', 'a/b'], '--split must be a word'),
])
def test_bad_arguments(monkeypatch, source, tmp_path, capsys, options, reason):
    with pytest.raises(SystemExit):
        _run(monkeypatch, source, tmp_path / 'out', *options)
    assert reason in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_one_line_errors(monkeypatch, source, tmp_path):
    with pytest.raises(SystemExit, match='aim_prob must be in'):
        _run(monkeypatch, source, tmp_path / 'out', '--aim-prob', '2')
    _run(monkeypatch, source, tmp_path / 'out')
    with pytest.raises(SystemExit, match='--force'):
        _run(monkeypatch, source, tmp_path / 'out')
