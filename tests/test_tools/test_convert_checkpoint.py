# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from refinevis_mm.compat.checkpoints import read_checkpoint
from refinevis_mm.vis_json import PRESETS, class_sources
from refinevis_mm.zoo.conversion import convert_state_dict
from tests.official_weights import DIMS, official_idol, official_maskdino

TOOL = (
    Path(__file__).parents[2] / 'tools' / 'model_converters' /
    'convert_checkpoint.py')
COCO = CocoDataset.METAINFO['classes']
HEAD = 'sem_seg_head.predictor.'


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the tool and returns the lines that it has printed."""

    def run_tool(*args):
        monkeypatch.setattr(sys, 'argv', ['convert', *map(str, args)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out.splitlines()

    return run_tool


def test_a_file_of_detectron2(tmp_path, run):
    official = official_maskdino(num_classes=80)
    source, target = tmp_path / 'model.pkl', tmp_path / 'out' / 'ours.pth'
    arrays = {f'module.{key}': value.numpy()
              for key, value in official.items()}  # yapf: disable
    source.write_bytes(pickle.dumps(dict(model=arrays, iteration=9)))
    lines = run(source, target, '--num-decoder-layers', 2)
    conversion = convert_state_dict(official, num_decoder_layers=2)
    assert lines[:len(conversion.uses)] == list(conversion.report(official))
    dropped = 'criterion.empty_weight -> - (81,) dropped: weight of a'
    assert any(line.startswith(dropped) for line in lines)
    told, known, needs, written = lines[len(conversion.uses):]
    assert known == 'classes: coco'
    assert told == f'{source}: MaskDINO, ResNet-50, 80 classes'
    assert needs.startswith("its config needs proposal_wh_order='coarse_small")
    assert "'num_layers': 2" in needs
    expected = conversion.state_dict
    assert written == f'{len(expected)} tensors written to {target}'
    checkpoint = read_checkpoint(str(target))
    assert set(checkpoint['state_dict']) == set(expected)
    assert all(
        torch.equal(checkpoint['state_dict'][key], expected[key])
        for key in expected)
    assert checkpoint['meta']['dataset_meta']['classes'] == list(COCO)
    assert list(target.parent.iterdir()) == [target]


def test_without_a_name_nothing_is_written(tmp_path, run):
    source = tmp_path / 'model.pth'
    torch.save(dict(official_maskdino()), source)
    assert run(source)[-3:-1] == [
        f'{source}: MaskDINO, ResNet-50, 5 classes', 'classes: not known'
    ]
    assert list(tmp_path.iterdir()) == [source]


def test_classes_are_copied_by_name(tmp_path, run):
    official = official_maskdino(num_classes=80)
    source, target = tmp_path / 'model.pth', tmp_path / 'ours.pth'
    torch.save(dict(model=dict(official)), source)

    def convert(*args):
        lines = run(source, target, '--classes', 'coco->ovis', *args)
        return lines, read_checkpoint(str(target))

    lines, checkpoint = convert('--seed', 3)
    line, = (line for line in lines if line.startswith('class rows: '))
    assert line.startswith('class rows: 16 of 25 copied by name, 9 drawn: ')
    assert 'Poultry, Giant_panda' in line
    ovis = PRESETS['ovis']
    assert checkpoint['meta']['dataset_meta']['classes'] == list(ovis)
    weights, sources = checkpoint['state_dict'], class_sources(ovis, COCO)
    for old, new in (('class_embed.weight', 'head.fc_cls.weight'),
                     ('class_embed.bias', 'head.fc_cls.bias'),
                     ('label_enc.weight',
                      'dn_query_generator.label_embedding.weight')):
        before, after = official[HEAD + old], weights['frame_model.' + new]
        assert len(after) == 25
        for row, found in zip(after, sources):
            assert not found or torch.equal(row, before[found[0]])
    # an unknown class must not outscore every known one
    bias = weights['frame_model.head.fc_cls.bias']
    assert bias[11] == official[HEAD + 'class_embed.bias'].mean()
    rows = weights['frame_model.head.fc_cls.weight']
    assert 0 < rows[11].abs().max() <= DIMS**-0.5
    again = convert('--seed', 3)[1]['state_dict']
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    other = convert('--seed', 4)[1]['state_dict']
    other = other['frame_model.head.fc_cls.weight']
    assert torch.equal(other[0], rows[0])
    assert not torch.equal(other[11], rows[11])


def test_classes_that_the_file_does_not_tell(tmp_path, run):
    source, target = tmp_path / 'model.pth', tmp_path / 'ours.pth'
    torch.save(dict(official_maskdino(num_classes=40)), source)
    lines = run(source, target)
    line, = (line for line in lines if line.startswith(f'{source}: '))
    assert line.endswith('; it has 40 classes, as YouTube-VIS 2019 and YouTube'
                         '-VIS 2021: the categories cannot be told from the '
                         'file')
    assert read_checkpoint(str(target))['meta']['dataset_meta'] == {}
    run(source, target, '--classes', 'youtube_vis_2021')
    meta = read_checkpoint(str(target))['meta']
    assert meta['dataset_meta']['classes'][24] == 'parrot'


@pytest.mark.parametrize('classes, message', [
    ('coco->', 'must have the 80 classes of coco, got 5'),
    ('ovis', 'must have the 25 classes of ovis, got 5'),
    ('coco-ovis', "classes must be of .*, coco, or two .* got 'coco-ovis'"),
])
def test_wrong_classes(tmp_path, run, classes, message):
    torch.save(dict(official_maskdino()), tmp_path / 'model.pth')
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        run(tmp_path / 'model.pth', tmp_path / 'a.pth', '--classes', classes)
    assert not (tmp_path / 'a.pth').exists()


def test_a_config_that_fits(tmp_path, run):
    source, target = tmp_path / 'model.pth', tmp_path / 'ours.pth'
    official = official_maskdino()
    torch.save(dict(official), source)
    model = convert_state_dict(official).model
    model['tar_head'] = dict(type='TARHead')
    config = tmp_path / 'config.py'
    Config(dict(model=model)).dump(str(config))
    lines = run(source, target, '--config', config)
    assert lines[-2] == (f'{config} also has a tar_head, which is not in the '
                         'file')
    assert target.exists()
    model['frame_model']['decoder']['num_layers'] = 4
    Config(dict(model=model)).dump(str(config))
    target.unlink()
    with pytest.raises(
            SystemExit,
            match='missing keys .*layers.3.* the file: MaskDINO, ResNet-50, 5 '
            'classes; the model: ResNet-50, 5 classes'):
        run(source, target, '--config', config)
    assert not target.exists()


def test_it_fails_without_a_trace(tmp_path, run):
    source, target = tmp_path / 'model.pth', tmp_path / 'ours.pth'
    torch.save(dict(official_maskdino(), extra=torch.zeros(1)), source)
    with pytest.raises(SystemExit, match='error: .*: 1 tensors .*: extra'):
        run(source, target)
    incomplete = official_maskdino()
    del incomplete[HEAD + 'decoder.layers.1.norm3.bias']
    torch.save(dict(incomplete), source)
    with pytest.raises(SystemExit, match='missing keys .*layers.1.norms.2'):
        run(source, target)
    torch.save(official_idol(), source)
    with pytest.raises(SystemExit, match='no shipped config fits the weights'):
        run(source, target)
    assert not target.exists()
