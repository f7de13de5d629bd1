# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The classes of model, data and checkpoint, compared before anything runs."""
from typing import Any, Dict, List, Optional

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from refinevis_mm.registry import HOOKS
from refinevis_mm.vis_json import (check_class_names, check_same_classes,
                                   classes_of)

# Modules of mmdet and rfdetr with a number of classes of their own kind.
OTHER_CLASSES = ('backbone', 'criterion', 'rpn_head', 'semantic_head')


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Refuses a run whose model and data do not have the same classes.

    Compared are, before the first iteration, the parts of a joined data set,
    the data sets of training and validation, the number of classes of every
    part of the model, and on resuming those of the checkpoint. Data sets
    without class names are not looked at.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Compare model and data sets.

        Args:
            runner (:obj:`Runner`): With the loops of this run built.

        Raises:
            ValueError: Naming what differs and what to set.
        """
        found = data_classes(runner)
        for split, classes in found.items():
            check_model(runner.model, classes, split)
        if {'train', 'val'} <= set(found):
            check_same_classes(
                found['train'], found['val'],
                'the data sets of training and validation',
                'set val_dataloader.dataset.metainfo.classes to those of '
                'training')

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare a checkpoint that training goes on from with the data.

        Args:
            runner (:obj:`Runner`): Tells whether the run is resumed.
            checkpoint (dict): The loaded checkpoint.

        Raises:
            ValueError: If its classes are not those of the data.
        """
        if not runner._resume:
            return
        old = classes_of(checkpoint.get('meta', {}).get('dataset_meta'))
        new = data_classes(runner).get('train')
        if old and new:
            check_same_classes(old, new,
                               'the resumed checkpoint and the training data',
                               'load_from starts anew with other classes')


def data_classes(runner: Runner) -> Dict[str, List[str]]:
    """Class names of the data of the loops that have been built.

    Args:
        runner (:obj:`Runner`): Of training or testing.

    Returns:
        dict[str, list[str]]: By 'train', 'val' and 'test', where a data set
        has class names.

    Raises:
        ValueError: If they are one text, or parts of a data set have other
            classes.
    """
    loops = dict(
        train=runner._train_loop, val=runner._val_loop, test=runner._test_loop)
    found = {}
    for split, loop in loops.items():
        if isinstance(loop, BaseLoop):
            metainfo = getattr(loop.dataloader.dataset, 'metainfo', None)
            classes = _joined_classes(metainfo, f'{split}_dataloader.dataset')
            if classes is not None:
                found[split] = classes
    return found


def check_model(model: nn.Module, classes: List[str], split: str) -> None:
    """Refuse a model with another number of classes.

    Args:
        model (nn.Module): Wrapped for distribution or not.
        classes (list[str]): Those of the data, K.
        split (str): 'train', 'val' or 'test', for the message.

    Raises:
        ValueError: Naming the settings that must be K.
    """
    if is_model_wrapper(model):
        model = model.module
    wrong = {}
    for name, module in model.named_modules():
        key = 'num_classes'
        if hasattr(module, 'num_things_classes'):
            key = 'num_things_classes'  # stuff has rows of its own
        number = getattr(module, key, None)
        if isinstance(number, int) and number != len(classes) and not any(
                part in OTHER_CLASSES for part in name.split('.')):
            wrong[f'model.{name}.{key}'] = number
    if wrong:
        raise ValueError(
            f'the model must have the {len(classes)} classes of '
            f'{split}_dataloader ({", ".join(classes[:10])}'
            f'{", ..." if len(classes) > 10 else ""}), got '
            f'{", ".join(f"{key}={n}" for key, n in wrong.items())}')


def _joined_classes(metainfo: Any, where: str) -> Optional[List[str]]:
    """Class names of a data set; parts must have the same."""
    if isinstance(metainfo, (list, tuple)):
        parts = [_joined_classes(part, where) for part in metainfo]
        for part in parts[1:]:
            check_same_classes(
                parts[0] or [], part or [], f'parts of {where}',
                'metainfo=dict(classes=(...)) of each part puts them in order')
        return parts[0] if parts else None
    if isinstance(metainfo, dict) and isinstance(metainfo.get('classes'), str):
        check_class_names(metainfo['classes'], f'{where}.metainfo.classes')
    return classes_of(metainfo)
