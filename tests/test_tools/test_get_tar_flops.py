# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
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


def count(*args):
    """Sizes, MAC by formula and MAC counted on the layers."""
    args = FUNCTIONS['parse_args']([str(arg) for arg in args])
    head = FUNCTIONS['build_tar_head'](args.config)
    size = FUNCTIONS['describe'](head, args)
    return (size, FUNCTIONS['count_by_formula'](size),
            FUNCTIONS['count_on_layers'](head, size))


def with_tar_head(tmp_path, **options):
    """A config of TAR alone."""
    tar_head = dict(Config.fromfile(R50).model.tar_head, **options)
    path = tmp_path / 'config.py'
    Config(dict(default_scope='mmdet',
                model=dict(tar_head=tar_head))).dump(str(path))
    return path


def test_numbers_of_the_paper_by_hand():
    # d = 256, W = 10, frames of 480 x 854: 4 W d^2, 2 W^2 d, 2 W d 1024,
    # W d 40, 3 W d^2, W d 120 * 214
    _, parts, counted = count(R50)
    assert list(parts.values()) == [
        2_621_440, 51_200, 5_242_880, 102_400, 1_966_080, 65_740_800
    ]
    totals = [2_672_640, 7_915_520, 9_984_000, 75_724_800]
    assert list(FUNCTIONS['add_up'](parts).values()) == totals
    assert list(counted.values()) == totals


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
    path = with_tar_head(tmp_path, heads=heads, **options)
    size, parts, counted = count(path, '--window', window, '--shape', 50, 70)
    assert (size['mask_height'], size['mask_width']) == (13, 18)
    assert counted == FUNCTIONS['add_up'](parts)


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
    count_macs = FUNCTIONS['count_macs']
    assert count_macs(model.classify, embeds) == parts['class head']
    assert count_macs(model.segment, embeds, features) == \
        parts['mask head'] + parts['mask product']


def test_report(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tool', R50])
    runpy.run_path(TOOL, run_name='__main__')
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines()
                if line.startswith('| = attention + FFN (TAR)'))
    assert line.count('7.916') == 2  # by formula and counted
    assert 'without the FFN, take 2.775 MMAC' in out
    assert 'attention and FFN 15.831 MFLOP' in out


@pytest.mark.parametrize('args, message', [
    (['c.py', '--window', '0'], '--window must be at least 1, got 0'),
    (['c.py', '--shape', '0', '5'], '--shape must be at least 1, got 0'),
])
def test_wrong_arguments(capsys, args, message):
    with pytest.raises(SystemExit):
        FUNCTIONS['parse_args'](args)
    assert message in capsys.readouterr().err


def test_configs_without_what_is_needed(tmp_path):
    with pytest.raises(ValueError, match='must have a tar_head'):
        count('configs/_base_/models/idol_r50.py')
    with pytest.raises(ValueError, match='must be those of MaskDINO'):
        count(with_tar_head(tmp_path))
