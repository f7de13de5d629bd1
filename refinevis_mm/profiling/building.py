# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The model that is measured, and what changes how it computes."""
import os.path as osp
import shutil
from contextlib import contextmanager
from typing import Any, Iterator

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn

from refinevis_mm.apis.inference import (check_device, find_checkpoint,
                                         find_config, load_model_weights)
from refinevis_mm.apis.video_config import as_video_config
from refinevis_mm.models import BaseVISModel
from refinevis_mm.registry import MODELS
from .settings import ProfileSettings

COMPILERS = ('g++', 'c++', 'clang++', 'gcc', 'cc')


def build_model(settings: ProfileSettings) -> nn.Module:
    """Build the model of a config, with a checkpoint's or random weights.

    Args:
        settings (:obj:`ProfileSettings`): What is measured.

    Returns:
        nn.Module: On the chosen device, with its ``cfg``, ``classes`` and
        ``weights``.

    Raises:
        OSError: If a file is missing.
        ValueError: If the config has no model, or none that can be measured
            in this way.
        CheckpointError: If the checkpoint does not fit.
    """
    device = check_device(settings.device)
    checkpoint = settings.checkpoint
    if checkpoint is None and not (osp.isfile(settings.config)
                                   or settings.config.endswith('.py')):
        checkpoint = settings.config  # a name of weights
    cfg = Config.fromfile(find_config(settings.config))
    if cfg.get('model') is None:
        raise ValueError(f'config "{settings.config}" must have a "model"')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    if settings.video is not None:
        cfg = as_video_config(cfg)
    cfg.merge_from_dict(settings.cfg_options)
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    _drop_pretrained(cfg.model)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    _check_kind(model, settings)
    model.weights, model.classes = '', []
    if checkpoint is None:
        model.init_weights()
    else:
        model.weights, entry = find_checkpoint(checkpoint)
        model.classes = load_model_weights(model, model.weights)
        if entry is not None and len(model.classes) != len(entry.classes):
            model.classes = list(entry.classes)
    model.cfg = cfg
    return model.to(device).train(settings.train)


def _check_kind(model: nn.Module, settings: ProfileSettings) -> None:
    """Raise ValueError if a model cannot be measured in this way."""
    kind = type(model).__name__
    if settings.video is not None and not isinstance(model, BaseVISModel):
        raise ValueError(f'a video needs a model that streams, got {kind}')
    if settings.video is None and not settings.data and not hasattr(
            model, 'frame_model'):
        raise ValueError(f'the model must have a frame_model, got {kind}')
    if settings.compile and not hasattr(model, 'frame_model'):
        raise ValueError(f'compile needs a frame_model, got {kind}')


def _drop_pretrained(cfg: Any) -> None:
    """Remove what would be downloaded for the initialisation."""
    if isinstance(cfg, dict):
        if (cfg.get('init_cfg') or {}).get('type') == 'Pretrained':
            cfg['init_cfg'] = None
        for value in cfg.values():
            _drop_pretrained(value)


@contextmanager
def compiled(model: nn.Module) -> Iterator[None]:
    """Compile the frame model of a model, for fixed sizes.

    Args:
        model (nn.Module): Changed in place.

    Yields:
        None: While it is compiled.

    Raises:
        OSError: If there is no compiler.
    """
    if not any(map(shutil.which, COMPILERS)):
        raise OSError('torch.compile needs a C++ compiler, found none of '
                      f'{", ".join(COMPILERS)}')
    frame_model = model.frame_model
    frame_model.forward_frames = torch.compile(
        frame_model.forward_frames, dynamic=False)
    try:
        yield
    finally:
        del frame_model.forward_frames
        torch.compiler.reset()
