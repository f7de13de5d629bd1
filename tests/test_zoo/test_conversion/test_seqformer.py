# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""SeqFormer's two code bases: the same numbers under other names."""
import re

import pytest
import torch

from refinevis_mm.compat.checkpoints import (CheckpointError,
                                             CheckpointMismatchError)
from refinevis_mm.zoo.conversion import convert_state_dict
from tests.official_weights import recorded_weights

# detectron2's names of a ResNet: those of torchvision
RESNET = ((r'stem\.conv1\.norm', 'bn1'), (r'stem\.conv1', 'conv1'),
          (r'res2', 'layer1'), (r'res3', 'layer2'), (r'res4', 'layer3'),
          (r'res5', 'layer4'), (r'conv(\d)\.norm', r'bn\1'),
          (r'shortcut\.norm', 'downsample.1'), (r'shortcut', 'downsample.0'))


@pytest.fixture(scope='module')
def vnext():
    """A recorded model, with 40 classes."""
    torch.manual_seed(0)
    return {
        key:
        torch.randn(40, *value.shape[1:]) if 'class_embed' in key else value
        for key, value in recorded_weights('seqformer_tiny').items()
    }


@pytest.fixture(scope='module')
def original(vnext):
    """The same model as its own repository would save it."""
    weights = {}
    for key, value in vnext.items():
        key = key[len('detr.'):]
        if 'class_embed' in key:  # rows 0 and 41 stand for nothing
            value = torch.cat([value[:1] + 1, value, value[:1] - 1])
        if 'backbone' in key:
            key = key.replace('backbone.0.backbone.', 'backbone.0.body.')
            for pattern, name in RESNET:
                key = re.sub(rf'(?<=\.){pattern}(?=\.)', name, key)
        weights[key] = value
    return weights


def test_both_are_the_same_model(vnext, original):
    expected, found = convert_state_dict(vnext), convert_state_dict(original)
    assert expected.family.name == 'SeqFormer of VNext'
    assert found.family.name == 'SeqFormer of its own repository'
    assert expected.traits == found.traits
    assert found.traits.num_classes == 40
    assert set(expected.state_dict) == set(found.state_dict)
    assert all(
        torch.equal(value, found.state_dict[key])
        for key, value in expected.state_dict.items())


def test_what_the_encoder_does_not_read_is_dropped(vnext):
    dropped = [
        use for use in convert_state_dict(vnext).uses
        if use.target is None and not use.note.startswith('copy of')
    ]
    assert len(dropped) == 4  # weight and bias of two layers
    assert {use.note for use in dropped} == {'not used by the encoder'}


def test_queries_are_split(vnext):
    ours = convert_state_dict(vnext).state_dict
    query = torch.cat([
        ours[f'frame_model.decoder.query_{name}embedding.weight']
        for name in ('pos_', '')
    ], 1)
    assert torch.equal(query, vnext['detr.detr.query_embed.weight'])


def test_other_rows_of_classes_are_refused(original):
    weights = {
        key: value[:41] if 'class_embed' in key else value
        for key, value in original.items()
    }
    with pytest.raises(
            CheckpointError, match='"a.pth": .* 42 rows of classes.* got 41'):
        convert_state_dict(weights, name='a.pth')


def test_an_unknown_tensor_is_named(original):
    weights = dict(original, **{'detr.extra.weight': torch.ones(1)})
    with pytest.raises(CheckpointMismatchError, match='detr.extra.weight'):
        convert_state_dict(weights)
