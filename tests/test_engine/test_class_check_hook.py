# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Model and data of different classes are refused before anything runs."""
from types import SimpleNamespace

import pytest
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from refinevis_mm.engine.hooks import ClassCheckHook
from refinevis_mm.registry import MODELS
from tests.demo_clips import tiny_model_cfg


class ToyLoop(BaseLoop):
    """A loop that has data only."""

    def __init__(self, metainfo):
        self.dataloader = SimpleNamespace(
            dataset=SimpleNamespace(metainfo=metainfo))

    def run(self):
        """Never run."""


def toy_runner(train=None, val=None, test=None, model=None, resume=False):
    """A runner with loops over data of these classes."""
    loops = {
        f'_{split}_loop':
        dict(type='NotBuilt') if metainfo is None else ToyLoop(metainfo)
        for split, metainfo in dict(train=train, val=val, test=test).items()
    }
    return SimpleNamespace(
        model=model or nn.Identity(), _resume=resume, **loops)


def classes(*names):
    return dict(classes=names)


@pytest.fixture(scope='module')
def model():
    """A model of seven classes."""
    return MODELS.build(tiny_model_cfg())


@pytest.mark.parametrize('runner', [
    dict(train=classes('cat', 'dog'), val=classes('Cat', 'dog')),
    dict(train=classes('cat', 'dog')),
    dict(train=dict(), val=classes('dog')),
    dict(val=classes('cat'), test=classes('dog')),
    dict(train=[classes('cat'), classes('cat')], val=classes('cat')),
])
def test_equal_or_unknown(runner):
    ClassCheckHook().before_run(toy_runner(**runner))


@pytest.mark.parametrize('runner, message', [
    (dict(train=classes('cat', 'dog'), val=classes('dog', 'cat')),
     r"the data sets of training and validation must have the same classes "
     r"in the same order, got \['cat', 'dog'\] and \['dog', 'cat'\]; set "
     r'val_dataloader\.dataset\.metainfo\.classes'),
    (dict(train=[classes('cat', 'dog'),
                 classes('dog', 'cat')]),
     r"parts of train_dataloader\.dataset must have .* got \['cat', 'dog'\] "
     r"and \['dog', 'cat'\]; metainfo"),
    (dict(train=[[classes('cat')], [classes('cat'), {}]]),
     r"parts of train_dataloader\.dataset .* \['cat'\] and \[\]"),
    (dict(test=dict(classes='cat')),
     r"test_dataloader\.dataset\.metainfo\.classes must be a list of names, "
     r"got the text 'cat'; a tuple of one name needs a comma: \('cat', \)"),
])
def test_data_sets_of_other_classes(runner, message):
    with pytest.raises(ValueError, match=message):
        ClassCheckHook().before_run(toy_runner(**runner))


def test_model_of_other_classes(model):
    seven = classes(*'abcdefg')
    ClassCheckHook().before_run(toy_runner(seven, model=model))
    with pytest.raises(
            ValueError,
            match=r'must have the 2 classes of train_dataloader \(a, b\), got '
            r'model\.frame_model\.\S*head\.num_classes=7') as error:
        ClassCheckHook().before_run(toy_runner(classes('a', 'b'), model=model))
    assert 'model.frame_model.dn_query_generator.num_classes=7' in str(
        error.value)
    with pytest.raises(ValueError, match='classes of test_dataloader'):
        ClassCheckHook().before_run(toy_runner(test=classes('a'), model=model))


def test_stuff_and_other_parts_do_not_count():
    """Two things of five classes, region proposals, a backbone, and rfdetr's
    criterion, which counts "no object"."""
    model = nn.Module()
    for name, numbers in dict(
            rpn_head=dict(num_classes=1),
            backbone=dict(num_classes=1000),
            criterion=dict(num_classes=3),
            panoptic_head=dict(num_classes=5, num_things_classes=2),
            bbox_head=dict(num_classes=2)).items():
        part = nn.Module()
        for key, number in numbers.items():
            setattr(part, key, number)
        model.add_module(name, part)
    ClassCheckHook().before_run(toy_runner(classes('a', 'b'), model=model))
    model.bbox_head.num_classes = 3
    with pytest.raises(
            ValueError, match=r'got model\.bbox_head\.num_classes=3$'):
        ClassCheckHook().before_run(toy_runner(classes('a', 'b'), model=model))


def test_resumed_checkpoint():
    checkpoint = dict(meta=dict(dataset_meta=classes('dog', 'cat')))
    runner = toy_runner(classes('cat', 'dog'))
    ClassCheckHook().after_load_checkpoint(runner, checkpoint)
    runner._resume = True
    with pytest.raises(ValueError, match='the resumed checkpoint and the tr'):
        ClassCheckHook().after_load_checkpoint(runner, checkpoint)
    ClassCheckHook().after_load_checkpoint(runner, dict(meta={}))
