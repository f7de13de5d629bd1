# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Checkpoints of the rfdetr package for :class:`RFDETRSeg`."""
import logging
import math
import re
from argparse import Namespace
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple, Tuple

from mmengine.logging import print_log
from torch import Tensor, nn

from refinevis_mm.compat.checkpoints import (MAX_NAMED_KEYS, CheckpointError,
                                             check_state_dict, read_file)
from .rfdetr_package import fetch_weights

# The weights that the package publishes for a size.
COCO_WEIGHTS = 'coco'
# Further groups of queries, of which testing uses the first only.
OTHER_GROUP = re.compile(
    r'transformer\.enc_(output|output_norm|out_class_embed|out_bbox_embed)'
    r'\.[1-9]')
GROUPED_ROWS = ('refpoint_embed.weight', 'query_feat.weight')
CLASS_HEADS = re.compile(r'(^|\.)(class_embed|enc_out_class_embed\.0)\.')
# Where RFDETRSeg keeps the LayerNorm after the decoder.
NORM = ('transformer.decoder.norm.', 'norm.')
# Follows from the config; files before keypoint models lack it.
KEYPOINT_MASK = 'network._kp_active_mask'


class LoadedWeights(NamedTuple):
    """What became of a checkpoint.

    Attributes:
        path (str): The file.
        loaded (list[str]): Keys of the checkpoint that were used.
        dropped (list[str]): Keys that were not: other groups of queries, and
            what the network does not have.
        classes (list[str]): Class names that the file states, in the order
            of the labels; empty if it has none for these classes.
    """

    path: str
    loaded: List[str]
    dropped: List[str]
    classes: List[str]


def load_rfdetr_weights(model: nn.Module,
                        weights: str = COCO_WEIGHTS,
                        other_classes: bool = False) -> LoadedWeights:
    """Load a checkpoint of the rfdetr package.

    Pickled code is never run.

    Args:
        model (:obj:`RFDETRSeg`): The frame model, changed in place.
        weights (str): 'coco' for the weights that the package publishes for
            this size, which it fetches into its own cache, or a file of its
            training: ``{"model": ..., "args": ...}``, or of Lightning.
            Defaults to 'coco'.
        other_classes (bool): Class heads with another number of rows are
            repeated or cut, as the package does before it trains on other
            classes, instead of refused. Defaults to False.

    Returns:
        :obj:`LoadedWeights`: What was used.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be fetched or read, or holds no such
            weights.
        CheckpointMismatchError: If a weight is missing or has another shape.
            The model is unchanged then.
    """
    path = fetch_weights(model.size) if weights == COCO_WEIGHTS else weights
    checkpoint = _read(path)
    official = _official_weights(checkpoint, path)
    converted, dropped = convert_rfdetr_weights(official, model)
    if other_classes:
        _fit_class_heads(converted, model.state_dict())
    check_state_dict(model, converted, path)
    model.load_state_dict(converted)
    unknown = [key for key in dropped if not OTHER_GROUP.match(key)]
    if unknown:
        print_log(
            f'"{path}": {len(unknown)} weights that RF-DETR-Seg {model.size} '
            f'does not have were left out '
            f'({", ".join(unknown[:MAX_NAMED_KEYS])})',
            'current',
            level=logging.WARNING)
    loaded = [key for key in official if key not in set(dropped)]
    return LoadedWeights(path, loaded, dropped,
                         _class_names(checkpoint, model.num_classes))


def read_rfdetr_checkpoint(path: str) -> Dict[str, Tensor]:
    """Weights of a checkpoint under the package's own names.

    Args:
        path (str): A file.

    Returns:
        dict[str, Tensor]: The weights.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be read or holds no such weights.
    """
    return _official_weights(_read(path), path)


def _read(path: str) -> Any:
    """What is in a file, never running code."""
    return read_file(path, allowed=(Namespace, SimpleNamespace))


def _official_weights(checkpoint: Any, path: str) -> Dict[str, Tensor]:
    """Weights of what is in a file; see :func:`read_rfdetr_checkpoint`."""
    weights: Any = None
    if isinstance(checkpoint, dict):
        weights = checkpoint.get('model')
        if weights is None and isinstance(checkpoint.get('state_dict'),
                                          dict):  # of Lightning
            weights = {
                re.sub(r'^model\.(_orig_mod\.)?', '', key): value
                for key, value in checkpoint['state_dict'].items()
            }
    if not isinstance(weights, dict) or not weights or not all(
            isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(
            f'checkpoint "{path}" must hold "model" or "state_dict" with '
            f'tensors, as rfdetr writes it, got {_describe(checkpoint)}')
    return weights


def _class_names(checkpoint: Dict[str, Any], num_classes: int) -> List[str]:
    """Class names of the training, if they are as many as expected."""
    args = checkpoint.get('args', checkpoint.get('hyper_parameters'))
    args = args if isinstance(args, dict) else getattr(args, '__dict__', {})
    names = args.get('class_names')
    if not isinstance(names, (list, tuple)) or len(names) != num_classes:
        return []
    return [str(name) for name in names]


def convert_rfdetr_weights(
        official: Dict[str, Tensor],
        model: nn.Module) -> Tuple[Dict[str, Tensor], List[str]]:
    """Rename the package's weights, and keep the first group of queries.

    Args:
        official (dict[str, Tensor]): Weights under the package's names.
        model (:obj:`RFDETRSeg`): Says what it needs.

    Returns:
        tuple[dict[str, Tensor], list[str]]: Weights under the names of the
        model, and the keys that were dropped.
    """
    own = model.state_dict()
    converted, dropped = {}, []
    for key, value in official.items():
        old, new = NORM
        name = key.replace(old, new) if key.startswith(old) else \
            f'network.{key}'
        if name not in own:
            dropped.append(key)
            continue
        rows = len(own[name]) if key in GROUPED_ROWS else 0
        if rows and len(value) % rows == 0:
            value = value[:rows]
        converted[name] = value
    converted.setdefault(KEYPOINT_MASK, own[KEYPOINT_MASK])
    return converted, dropped


def _fit_class_heads(weights: Dict[str, Tensor], own: Dict[str,
                                                           Tensor]) -> None:
    """Repeat or cut the rows of class heads, in place."""
    for key, value in weights.items():
        if CLASS_HEADS.search(key) and len(value) != len(own[key]):
            repeats = math.ceil(len(own[key]) / len(value))
            value = value.repeat(repeats, *[1] * (value.dim() - 1))
            weights[key] = value[:len(own[key])]


def _describe(checkpoint: Any) -> str:
    """Keys of a dictionary, or the type of anything else."""
    if isinstance(checkpoint, dict):
        names = ', '.join(map(str, list(checkpoint)[:MAX_NAMED_KEYS]))
        return f'the keys {names}' if names else 'no key'
    return type(checkpoint).__name__
