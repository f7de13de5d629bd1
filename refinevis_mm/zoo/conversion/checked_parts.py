# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Do converted weights fit a config? Parts of its model without memory."""
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Mapping, Sequence

import torch
from mmengine.config import Config
from torch import nn
from torch.overrides import TorchFunctionMode

from refinevis_mm.compat.checkpoints import (CheckpointMismatchError,
                                             check_state_dict)
from refinevis_mm.registry import MODELS
from .engine import Conversion, explain_mismatch

# folders of shipped configs for a family
FOLDERS = {
    'CTVIS': ('ctvis', ),
    'IDOL': ('idol', ),
    'Mask2Former or MinVIS': ('minvis', 'mask2former'),
    'Mask2Former of mmdet': ('minvis', 'mask2former'),
    'Mask2FormerVideo of mmdet': ('minvis', 'mask2former'),
    'SeqFormer of VNext': ('seqformer', ),
    'SeqFormer of its own repository': ('seqformer', ),
    'VITA': ('vita', )
}
# parts of our models that have weights
TRAINED_PARTS = ('frame_model', 'association_head', 'tar_head', 'clip_head')
DATA_SETS = {80: 'coco', 133: 'coco', 40: 'youtubevis', 25: 'ovis'}


class _NumbersOnCpu(TorchFunctionMode):
    """A Swin backbone asks for the numbers of a ``linspace``."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs['device'] = 'cpu'
        return func(*args, **kwargs)


def build_parts(model: Mapping[str, Any], parts: Sequence[str]) -> nn.Module:
    """Build parts of a model on the meta device.

    Args:
        model (Mapping[str, Any]): Config of the model.
        parts (Sequence[str]): Parts of it; those that it lacks are left out.

    Returns:
        nn.Module: Has their keys and shapes, no numbers.

    Raises:
        ValueError: If the model has no frame model.
    """
    if not model.get('frame_model'):
        raise ValueError('the model of the config must have a frame_model, '
                         f'got {model.get("type")}')
    cfgs = {part: model[part] for part in parts if model.get(part)}
    if model.get('backbone'):  # a detector puts it into its frame model
        cfgs['frame_model'] = dict(
            cfgs['frame_model'], backbone=model['backbone'])
    with torch.device('meta'), _NumbersOnCpu():
        return nn.ModuleDict({
            part: MODELS.build(cfg)
            for part, cfg in cfgs.items()
        })


def check_conversion(conversion: Conversion, model: Mapping[str, Any],
                     name: str) -> List[str]:
    """Check that converted weights are those of a model.

    Parts that the model does not have are dropped.

    Args:
        conversion (:obj:`Conversion`): The weights; changed in place.
        model (Mapping[str, Any]): Config of the model.
        name (str): What to call the weights in the message.

    Returns:
        list[str]: Parts of the model that the family does not have.

    Raises:
        CheckpointMismatchError: If they are not.
        ValueError: If the model has no frame model.
    """
    parts = build_parts(model, conversion.family.parts)
    conversion.fit_parts(parts.state_dict())
    try:
        check_state_dict(parts, conversion.state_dict, name)
    except CheckpointMismatchError as error:
        reason = explain_mismatch(conversion, parts.state_dict())
        raise CheckpointMismatchError(f'{error}; {reason}') from error
    return [
        part for part in TRAINED_PARTS
        if model.get(part) and part not in conversion.family.parts
    ]


def find_model(conversion: Conversion, folder: Path) -> str:
    """Find the model that weights are those of.

    Args:
        conversion (:obj:`Conversion`): The weights.
        folder (Path): ``configs`` of this project.

    Returns:
        str: A line that tells of shipped configs, or of what a config must
        say.

    Raises:
        CheckpointMismatchError: If the model of the family lacks a tensor.
        ValueError: If no shipped config fits.
    """
    if conversion.model is not None:
        check_conversion(replace(conversion), conversion.model, 'checkpoint')
        frame_model = conversion.model['frame_model']
        return 'its config needs ' + '; '.join(
            f'{part}={frame_model[part]!r}'
            for part in ('proposal_wh_order', 'pixel_decoder', 'decoder'))
    backbone = conversion.traits.backbone.replace('ResNeXt-',
                                                  'x').replace('ResNet-',
                                                               'r').lower()
    data = DATA_SETS.get(conversion.traits.num_classes or 0, 'custom')
    found = []
    for name in FOLDERS.get(conversion.family.name, ()):
        for path in sorted((folder / name).glob(f'*{backbone}_*{data}*.py')):
            model = Config.fromfile(path).model
            try:
                check_conversion(replace(conversion), model, path.name)
            except CheckpointMismatchError:
                continue
            found.append(path.name)
    if not found:
        raise ValueError('no shipped config fits the weights, so one must be '
                         f'given (--config), got {conversion}')
    return f'its config: {" or ".join(found)}'
