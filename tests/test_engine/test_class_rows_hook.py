# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Checkpoints of other classes."""
from types import SimpleNamespace

import pytest
import torch
from mmdet.datasets import CocoDataset

from refinevis_mm.compat.checkpoints import CheckpointMismatchError
from refinevis_mm.engine.hooks.class_rows_hook import (ClassRowsHook,
                                                       copy_class_rows,
                                                       copy_or_draw_class_rows)
from refinevis_mm.registry import MODELS
from refinevis_mm.vis_json import PRESETS, class_sources
from tests.demo_clips import tiny_model_cfg

OLD, NEW = ('car', 'cat', 'keyboard', 'mouse'), ('Cat', 'mouse', 'sedan')


def _rows(*values):
    return torch.tensor(values, dtype=torch.float32)


def test_copied_by_name():
    old = {
        'head.fc_cls.weight': _rows([1, 1], [2, 2], [3, 3], [4, 4]),
        'head.fc_cls.1.bias': _rows(1, 2, 3, 6),
        'dn.label_embedding.weight': _rows([1], [2], [3], [4]),
        'head.cls_embed.bias': _rows(1, 2, 3, 4, 9),  # the last: no object
        'head.fc_reg.bias': _rows(7, 7, 7, 7),
    }
    own = {
        'head.fc_cls.weight': torch.full((3, 2), -1.),
        'head.fc_cls.1.bias': torch.zeros(3),
        'dn.label_embedding.weight': torch.full((3, 1), -1.),
        'head.cls_embed.bias': torch.zeros(4),
        'head.fc_reg.bias': torch.zeros(4),
    }
    copied = copy_class_rows(old, own, OLD, NEW)
    assert set(copied) == set(own) - {'head.fc_reg.bias'}
    # the device is no animal
    assert copied['head.fc_cls.weight'].tolist() == [[2, 2], [-1, -1], [1, 1]]
    assert copied['head.fc_cls.1.bias'].tolist() == [2, 3, 1]
    assert copied['dn.label_embedding.weight'].tolist() == [[2], [-1], [1]]
    assert copied['head.cls_embed.bias'].tolist() == [2, 2.5, 1, 9]
    assert own['head.fc_cls.weight'].eq(-1).all()


@pytest.fixture
def model():
    return MODELS.build(
        tiny_model_cfg(
            **{
                'model.frame_model.head.num_classes': 3,
                'model.frame_model.dn_query_generator.num_classes': 3
            }))


def _runner(model, **options):
    data = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=NEW)))
    values = dict(
        model=model,
        _resume=False,
        _train_loop=object(),
        train_dataloader=data)
    return SimpleNamespace(**{**values, **options})


def _checkpoint(model, classes=OLD, num_classes=4):
    weights = {
        key:
        value.new_ones(num_classes, *value.shape[1:])
        if 'fc_cls' in key or 'label_embedding' in key else value
        for key, value in model.state_dict().items()
    }
    return dict(
        state_dict=weights, meta=dict(dataset_meta=dict(classes=classes)))


def test_checkpoint_of_other_classes_loads(model):
    checkpoint = _checkpoint(model)
    ClassRowsHook().after_load_checkpoint(_runner(model), checkpoint)
    model.load_state_dict(checkpoint['state_dict'])
    bias = model.frame_model.head.fc_cls.bias
    assert bias.tolist() == [1, 1, 1]


def test_same_classes_are_left_alone(model):
    checkpoint = _checkpoint(model, NEW, 3)
    before = dict(checkpoint['state_dict'])
    ClassRowsHook().after_load_checkpoint(_runner(model), checkpoint)
    assert all(value is before[key]
               for key, value in checkpoint['state_dict'].items())


@pytest.mark.parametrize('options', [
    dict(_resume=True),
    dict(_train_loop=dict(type='IterBasedTrainLoop')),
    dict(_train_loop=None),
])
def test_only_at_the_start_of_training(model, options):
    checkpoint = _checkpoint(model)
    before = dict(checkpoint['state_dict'])
    ClassRowsHook().after_load_checkpoint(
        _runner(model, **options), checkpoint)
    assert all(value is before[key]
               for key, value in checkpoint['state_dict'].items())


def test_another_shape_is_refused(model):
    checkpoint = _checkpoint(model)
    checkpoint['meta'] = {}  # classes are not known
    with pytest.raises(
            CheckpointMismatchError,
            match=r'3 keys of another shape .*fc_cls.weight \(4, 32\) in the '
            r'checkpoint, \(3, 32\) in the model'):
        ClassRowsHook().after_load_checkpoint(_runner(model), checkpoint)


def test_rows_without_a_model():
    old = {
        'head.fc_cls.weight': _rows([1, 1], [2, 2], [3, 3], [4, 4]),
        'head.fc_cls.bias': _rows(1, 2, 3, 6),
        'dn.label_embedding.weight': _rows(*[[7] * 500] * 4),
        'head.cls_embed.bias': _rows(1, 2, 3, 4, 9),  # the last: no object
        'head.fc_reg.bias': _rows(7, 7, 7, 7),
    }
    rows = copy_or_draw_class_rows(old, OLD, NEW, seed=1)
    assert set(rows) == set(old) - {'head.fc_reg.bias'}
    # the mouse is new
    assert rows['head.fc_cls.bias'].tolist() == [2, 3, 1]
    assert rows['head.cls_embed.bias'].tolist() == [2, 2.5, 1, 9]
    weight = rows['head.fc_cls.weight']
    assert weight[[0, 2]].tolist() == [[2, 2], [1, 1]]
    assert 0 < weight[1].abs().max() <= 2**-0.5
    drawn = rows['dn.label_embedding.weight'][1]
    assert abs(drawn.mean()) < 0.2 and abs(drawn.std() - 1) < 0.2
    again = copy_or_draw_class_rows(old, OLD, NEW, seed=1)
    assert torch.equal(again['head.fc_cls.weight'], weight)
    other = copy_or_draw_class_rows(old, OLD, NEW, seed=2)
    assert not torch.equal(other['head.fc_cls.weight'], weight)


def test_names_of_coco_in_other_data_sets():
    names = dict(PRESETS, coco=CocoDataset.METAINFO['classes'])

    def found(target):
        sources = class_sources(names[target], names['coco'])
        return {
            name: names['coco'][source[0]]
            for name, source in zip(names[target], sources) if source
        }

    shared = {
        name: name
        for name in ('person', 'skateboard', 'dog', 'cat', 'cow', 'train',
                     'horse', 'bear', 'giraffe', 'surfboard', 'airplane',
                     'truck', 'zebra', 'elephant', 'snowboard', 'boat')
    }
    shared.update(motorbike='motorcycle', tennis_racket='tennis racket')
    assert found('youtube_vis_2019') == dict(shared, sedan='car')
    assert found('youtube_vis_2021') == dict(
        shared, car='car', bird='bird', flying_disc='frisbee')
    animals = 'bird cat dog horse sheep cow elephant bear zebra giraffe'
    others = 'person bicycle motorcycle airplane boat'
    assert found('ovis') == dict(
        {name.capitalize(): name
         for name in f'{animals} {others}'.split()},
        Vehical='car')
