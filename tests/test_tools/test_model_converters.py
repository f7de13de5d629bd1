# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import MobileNetV2

from refinevis_mm.compat.checkpoints import read_checkpoint

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


def test_mobilenet_v2_unknown_key():
    with pytest.raises(KeyError, match='head.weight'):
        _load('mobilenet_v2_to_mmdet')['convert']({
            'head.weight': torch.zeros(1)
        })


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
    assert not list(target.parent.glob('*.part'))
