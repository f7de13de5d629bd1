# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from refinevis_mm.registry import MODELS
from tests.demo_clips import tiny_model_cfg

TOOL = str(
    Path(__file__).parents[2] / 'tools' / 'analysis_tools' /
    'get_tar_flops.py')
FUNCTIONS = runpy.run_path(TOOL)
R50 = 'configs/_base_/models/refinevis_r50.py'


def _run(*args):
    return FUNCTIONS['run'](FUNCTIONS['parse_args']([str(a) for a in args]))


def _with_tar_head(tmp_path, **options):
    """A config of TAR alone."""
    tar_head = dict(Config.fromfile(R50).model.tar_head, **options)
    path = tmp_path / 'config.py'
    Config(dict(default_scope='mmdet',
                model=dict(tar_head=tar_head))).dump(str(path))
    return path


@pytest.fixture(scope='module')
def paper():
    """R50, 10 frames of 480 x 854."""
    return _run(R50)


def test_numbers_of_the_paper_by_hand(paper):
    # d = 256, W = 10: 4 W d^2, 2 W^2 d, 2 W d 1024, W d 40, 3 W d^2,
    # W d 120 * 214
    parts = paper['parts']
    assert [parts[part]['clip'] for part in parts] == [
        2_621_440, 51_200, 5_242_880, 102_400, 1_966_080, 65_740_800
    ]
    totals = paper['totals']
    assert [totals[total]['clip'] for total in totals
            ] == [2_672_640, 7_915_520, 9_984_000, 75_724_800]
    # a frame online: the same layer, the heads for one frame
    assert [totals[total]['online'] for total in totals] == [
        2_672_640, 7_915_520, 7_915_520 + 206_848, 8_122_368 + 6_574_080
    ]
    # keys and values of 10 tokens, queries, output and FFN of 1
    attention = (2 * 10 + 2) * 65_536 + 2 * 10 * 256
    assert totals['attention (MSA)']['last token'] == attention
    assert totals['attention + FFN (TAR)']['last token'] == \
        attention + 2 * 256 * 1024


def test_readings_of_the_paper(paper):
    readings = paper['readings']
    assert [round(value, 2) for value in readings.values()
            ] == [2.67, 2.78, 2.80, 7.92, 15.83, 1.58, 1.97, 2.18]
    text = FUNCTIONS['format_report'](paper)
    assert ('Readings that round to it: MAC, attention and class head; the '
            'same, with LayerNorms.') in text
    assert 'cost 5.7 times as many FLOP' in text


def test_ffn_of_2048(tmp_path):
    heads = dict(type='refinevis_mm.EmbeddingHeads', num_classes=40)
    path = _with_tar_head(tmp_path, feedforward_channels=2048, heads=heads)
    readings = _run(path)['readings']
    assert round(readings['MAC, attention and FFN'], 2) == 13.16
    assert round(readings['FLOP, attention and FFN'], 1) == 26.3
    assert round(readings['FLOP, attention and FFN, per frame'], 2) == 2.63
    assert round(readings['MAC, last token alone'], 2) == 2.50
    assert round(readings['MAC, last token alone, with heads'], 2) == 2.70


@pytest.mark.parametrize('window', [1, 10, 20])
@pytest.mark.parametrize('options', [
    dict(),
    dict(num_layers=3, pe_placement='qk'),
    dict(embed_dims=64, num_heads=4, feedforward_channels=96),
])
def test_formula_equals_the_layers(tmp_path, options, window):
    heads = dict(
        type='refinevis_mm.EmbeddingHeads',
        num_classes=7,
        embed_dims=options.get('embed_dims', 256),
        mask_dims=48)
    path = _with_tar_head(tmp_path, heads=heads, **options)
    report = _run(path, '--window', window, '--shape', 50, 70)
    assert (report['size']['mask_height'],
            report['size']['mask_width']) == (13, 18)
    for total, macs in report['totals'].items():
        assert report['counted'][total] == macs['clip'], total


def test_shared_heads_cost_what_is_said():
    """The heads of a real frame model, counted."""
    cfg = tiny_model_cfg()
    model = MODELS.build(cfg.frame_model).to('meta')
    embeds = torch.empty(1, 3, 32, device='meta')
    features = torch.empty(1, 32, 5, 6, device='meta')
    size = dict(
        window=3,
        num_layers=1,
        embed_dims=32,
        feedforward_channels=32,
        num_classes=7,
        mask_dims=32,
        mask_height=5,
        mask_width=6)
    parts = FUNCTIONS['count_by_formula'](size)
    count = FUNCTIONS['count_macs']
    assert count(model.classify, embeds) == parts['class head']['clip']
    assert count(model.segment, embeds, features) == \
        parts['mask head']['clip'] + parts['mask product']['clip']


def test_more_tracklets_and_classes(capsys, monkeypatch):
    args = [
        'tool', R50, '--num-tracklets', '4', '--num-classes', '25', '--json'
    ]
    monkeypatch.setattr(sys, 'argv', args)
    runpy.run_path(TOOL, run_name='__main__')
    report = json.loads(capsys.readouterr().out)
    assert report['parts']['class head']['clip'] == 10 * 256 * 25
    assert report['size']['num_classes'] == 25
    monkeypatch.setattr(sys, 'argv', args[:-1])
    runpy.run_path(TOOL, run_name='__main__')
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines()
                if line.startswith('| attention + FFN (TAR)'))
    assert '63.324' in line  # 4 tracklets x 2 FLOP x 7.91552 MMAC


@pytest.mark.parametrize('args, message', [
    (['c.py', '--window', '0'], '--window must be at least 1, got 0'),
    (['c.py', '--num-tracklets', '0'], '--num-tracklets must be at least 1'),
    (['c.py', '--shape', '0', '5'], '--shape must be at least 1, got 0'),
])
def test_wrong_arguments(capsys, args, message):
    with pytest.raises(SystemExit):
        FUNCTIONS['parse_args'](args)
    assert message in capsys.readouterr().err


def test_configs_without_what_is_needed(tmp_path):
    with pytest.raises(ValueError, match='must have a tar_head'):
        _run('configs/_base_/models/idol_r50.py')
    with pytest.raises(ValueError, match='must be those of MaskDINO'):
        _run(_with_tar_head(tmp_path))
