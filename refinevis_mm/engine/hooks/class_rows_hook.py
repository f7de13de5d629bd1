# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Weights of one set of classes for training with another."""
import re
from typing import Dict, Sequence

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from refinevis_mm.compat.checkpoints import (MAX_NAMED_KEYS,
                                             CheckpointMismatchError)
from refinevis_mm.registry import HOOKS
from refinevis_mm.vis_json import class_sources, classes_of

# Tensors with a row for each class.
CLASS_ROWS = re.compile(
    r'(^|\.)(fc_cls(\.\d+)?|cls_embed|label_embedding)\.(weight|bias)')


@HOOKS.register_module()
class ClassRowsHook(Hook):
    """Fits the checkpoint that training starts from to other classes.

    Where the classes of the checkpoint differ from those of the training data
    (phase 2 to phase 3 of the paper), rows of the class branches and of the
    label embedding are copied by name. Weights that still have another shape
    are refused, unless the model has ``allow_mismatch``; mmengine alone would
    warn and go on with random ones. Resumed runs and tests are left alone.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Change the weights of ``load_from`` before the model gets them.

        Args:
            runner (:obj:`Runner`): Has the model and the training data.
            checkpoint (dict): The loaded checkpoint; changed in place.

        Raises:
            CheckpointMismatchError: If weights do not fit the model.
        """
        training = not (isinstance(runner._train_loop, dict)
                        or runner._train_loop is None)
        if runner._resume or not training:
            return
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        own = model.state_dict()
        weights = checkpoint.get('state_dict', checkpoint)
        old = classes_of(checkpoint.get('meta', {}).get('dataset_meta'))
        new = classes_of(
            getattr(runner.train_dataloader.dataset, 'metainfo', None))
        if old and new and old != new:
            weights.update(copy_class_rows(weights, own, old, new))
            found = sum(map(bool, class_sources(new, old)))
            print_log(
                f'class rows copied by name for {found} of {len(new)} classes',
                'current')
        others = [
            f'{key} {tuple(value.shape)} in the checkpoint, '
            f'{tuple(own[key].shape)} in the model'
            for key, value in weights.items()
            if key in own and own[key].shape != value.shape
        ]
        if others and not getattr(model, 'allow_mismatch', False):
            raise CheckpointMismatchError(
                f'load_from does not fit the model: {len(others)} keys of '
                f'another shape ({"; ".join(others[:MAX_NAMED_KEYS])})')


def copy_class_rows(weights: Dict[str, Tensor], own: Dict[str, Tensor],
                    old: Sequence[str],
                    new: Sequence[str]) -> Dict[str, Tensor]:
    """Class rows of a checkpoint in the order of other classes.

    A class that the checkpoint does not know keeps the rows of the model,
    but with the mean of the old biases: with its own, which is near 0 without
    a prior, it would outscore all others. A last row beside the classes ("no
    object") is copied.

    Args:
        weights (dict[str, Tensor]): The checkpoint's weights.
        own (dict[str, Tensor]): The model's, freshly initialised.
        old (Sequence[str]): Classes of the checkpoint, K_old.
        new (Sequence[str]): Classes of the model, K.

    Returns:
        dict[str, Tensor]: New values, (K or K + 1, ...), of the tensors that
        have rows for classes in both.
    """
    rows = [(label, found[0])
            for label, found in enumerate(class_sources(new, old)) if found]
    copied = {}
    for key, value in weights.items():
        extra = len(value) - len(old) if value.dim() else -1
        if not CLASS_ROWS.search(key) or extra not in (0, 1) or \
                key not in own or len(own[key]) != len(new) + extra:
            continue
        pairs = rows + [(len(new), len(old))] * extra
        targets = torch.tensor([pair[0] for pair in pairs], dtype=torch.long)
        sources = torch.tensor([pair[1] for pair in pairs], dtype=torch.long)
        result = own[key].detach().to(value.device, value.dtype, copy=True)
        if key.endswith('bias'):
            result[:] = value[:len(old)].float().mean()
        result[targets] = value[sources]
        copied[key] = result
    return copied


def copy_or_draw_class_rows(weights: Dict[str, Tensor], old: Sequence[str],
                            new: Sequence[str],
                            seed: int) -> Dict[str, Tensor]:
    """Class rows of a checkpoint in the order of other classes, no model.

    As :func:`copy_class_rows`; what a model has at the start of training is
    drawn: embeddings are normal with deviation 1, linear layers uniform
    within 1 / sqrt(C).

    Args:
        weights (dict[str, Tensor]): The checkpoint's weights.
        old (Sequence[str]): Classes of the checkpoint, K_old.
        new (Sequence[str]): Other classes, K.
        seed (int): Seed of the generator.

    Returns:
        dict[str, Tensor]: New values, (K or K + 1, ...), of the tensors that
        have rows for classes.
    """
    generator = torch.Generator().manual_seed(seed)
    own = {}
    for key, value in weights.items():
        if not CLASS_ROWS.search(key):
            continue
        rows = torch.zeros(len(new) + len(value) - len(old), *value.shape[1:])
        if 'label_embedding' in key:
            rows.normal_(generator=generator)
        elif rows.dim() == 2:
            bound = rows.shape[1]**-0.5
            rows.uniform_(-bound, bound, generator=generator)
        own[key] = rows
    return copy_class_rows(weights, own, old, new)
