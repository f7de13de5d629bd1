# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import MobileNetV2

from refinevis_mm.compat.checkpoints import (CheckpointMismatchError,
                                             read_checkpoint)
from refinevis_mm.models.backbones import EfficientNetLite

TOOLS = Path(__file__).parents[2] / 'tools' / 'model_converters'


def _load(name):
    return runpy.run_path(str(TOOLS / f'{name}.py'))


def _original_layout():
    """Random MobileNetV2 weights under the names of the original layout.

    Written out from the network's structure, independently of the converter:
    convolution, norm and ReLU are counted alike inside a block.
    """
    names, index = {}, 1
    for part, leaf in (('0', 'conv1.conv'), ('1', 'conv1.bn')):
        names[f'features.0.{part}'] = leaf
    for stage, blocks in enumerate((1, 2, 3, 4, 3, 3, 1), 1):
        for block in range(blocks):
            layers = ['depthwise_conv.conv', 'depthwise_conv.bn', None,
                      'linear_conv.conv', 'linear_conv.bn']  # yapf: disable
            if index > 1:
                layers = ['expand_conv.conv', 'expand_conv.bn', None] + layers
            for position, layer in enumerate(layers):
                if layer is not None:
                    names[f'features.{index}.conv.{position}'] = \
                        f'layer{stage}.{block}.{layer}'
            index += 1
    names['features.18.0'] = 'conv2.conv'
    names['features.18.1'] = 'conv2.bn'
    return names


def test_mobilenet_v2_layout():
    torch.manual_seed(0)
    model = MobileNetV2(out_indices=(7, ))
    expected = model.state_dict()
    original = {}
    for old, new in _original_layout().items():
        for key, value in expected.items():
            if key.rsplit('.', 1)[0] == new:
                original[f'{old}.{key.rsplit(".", 1)[1]}'] = value
    assert len(original) == len(expected)
    original['classifier.1.weight'] = torch.zeros(1)
    converted = _load('mobilenet_v2_to_mmdet')['convert'](original)
    assert set(converted) == set(expected)
    for key, value in expected.items():
        assert torch.equal(converted[key], value), key


@pytest.mark.parametrize('key', [
    'head.weight', 'features.99.0.weight', 'features.1.conv.7.weight',
    'features.1.conv.2.weight', 'features.0.weight'
])
def test_mobilenet_v2_unknown_key(key):
    with pytest.raises(ValueError, match=key):
        _load('mobilenet_v2_to_mmdet')['convert']({key: torch.zeros(1)})


def _efficientnet_lite_layout(blocks_per_stage):
    """Module of the package -> ours, written out from the structure."""
    names, index = dict(_conv_stem='stem.conv', _bn0='stem.bn'), 0
    for stage, blocks in enumerate(blocks_per_stage, 1):
        for block in range(blocks):
            ours = f'stage{stage}.{block}'
            parts = dict(_depthwise_conv='depthwise_conv.conv',
                         _bn1='depthwise_conv.bn',
                         _project_conv='linear_conv.conv',
                         _bn2='linear_conv.bn')  # yapf: disable
            if index > 0:
                parts.update(
                    _expand_conv='expand_conv.conv', _bn0='expand_conv.bn')
            for part, layer in parts.items():
                names[f'_blocks.{index}.{part}'] = f'{ours}.{layer}'
            index += 1
    return names


def _efficientnet_lite_weights(arch, blocks_per_stage):
    """Weights of a random network and the same under the package's names."""
    torch.manual_seed(0)
    expected, original = EfficientNetLite(arch).state_dict(), {}
    for old, new in _efficientnet_lite_layout(blocks_per_stage).items():
        for key, value in expected.items():
            if key.rsplit('.', 1)[0] == new:
                original[f'{old}.{key.rsplit(".", 1)[1]}'] = value
    assert len(original) == len(expected)
    for key in ('_conv_head.weight', '_bn1.weight', '_fc.bias'):
        original[key] = torch.zeros(1)
    return expected, original


@pytest.mark.parametrize('arch, blocks', [('lite0', (1, 2, 2, 3, 3, 4, 1)),
                                          ('lite2', (1, 3, 3, 4, 4, 5, 1))])
def test_efficientnet_lite_layout(arch, blocks):
    expected, original = _efficientnet_lite_weights(arch, blocks)
    converted = _load('efficientnet_lite_to_refinevis')['convert'](original,
                                                                   arch)
    assert set(converted) == set(expected)
    for key, value in expected.items():
        assert torch.equal(converted[key], value), key


@pytest.mark.parametrize('key', [
    'head.weight', '_blocks.16._bn1.bias', '_blocks.1.weight', '_bn3.bias',
    '_blocks.0._se_reduce.weight'
])
def test_efficientnet_lite_unknown_key(key):
    with pytest.raises(ValueError, match=f'16 blocks, got .{key}'):
        _load('efficientnet_lite_to_refinevis')['convert']({
            key: torch.zeros(1)
        }, 'lite0')


def test_efficientnet_lite_of_another_size():
    _, original = _efficientnet_lite_weights('lite2', (1, 3, 3, 4, 4, 5, 1))
    with pytest.raises(CheckpointMismatchError, match='another shape'):
        _load('efficientnet_lite_to_refinevis')['convert'](original, 'lite1')
    del original['_bn0.bias']
    with pytest.raises(CheckpointMismatchError, match='stem.bn.bias'):
        _load('efficientnet_lite_to_refinevis')['convert'](original, 'lite2')


def test_efficientnet_lite_file(tmp_path, monkeypatch):
    expected, original = _efficientnet_lite_weights('lite0',
                                                    (1, 2, 2, 3, 3, 4, 1))
    source, target = tmp_path / 'lite0.pth', tmp_path / 'out' / 'lite0.pth'
    argv = ['convert', 'lite0', str(source), str(target)]
    monkeypatch.setattr(sys, 'argv', argv)
    path = str(TOOLS / 'efficientnet_lite_to_refinevis.py')
    with pytest.raises(SystemExit, match='error: .*lite0.pth" does not exist'):
        runpy.run_path(path, run_name='__main__')
    assert not target.parent.exists()
    torch.save(original, source)
    runpy.run_path(path, run_name='__main__')
    backbone = EfficientNetLite(
        init_cfg=dict(type='Pretrained', checkpoint=str(target)))
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, expected[key]), key
    assert list(target.parent.iterdir()) == [target]


def test_published_checkpoint_has_weights_and_classes_only(
        tmp_path, monkeypatch):
    source, target = tmp_path / 'iter_9.pth', tmp_path / 'out' / 'model.pth'
    torch.save(
        dict(
            state_dict=dict(
                weight=torch.tensor([1.5]), count=torch.tensor([70000])),
            meta=dict(iter=9, dataset_meta=dict(classes=('a', 'b')), seed=1),
            optimizer=dict(state={})), source)
    argv = ['publish', str(source), str(target), '--half']
    monkeypatch.setattr(sys, 'argv', argv)
    runpy.run_path(str(TOOLS / 'publish_checkpoint.py'), run_name='__main__')
    out = read_checkpoint(str(target))
    assert set(out) == {'state_dict', 'meta'}
    assert out['state_dict']['weight'].dtype == torch.float16
    assert out['state_dict']['count'].tolist() == [70000]  # not a float
    assert out['meta']['dataset_meta']['classes'] == ['a', 'b']
    assert out['meta']['iter'] == 9
    assert list(target.parent.iterdir()) == [target]
