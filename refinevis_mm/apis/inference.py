# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A model from its files."""
import os.path as osp
from pathlib import Path
from typing import List, Optional, Union

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import refinevis_mm
from refinevis_mm.compat.checkpoints import load_checkpoint_strict
from refinevis_mm.models.refinevis import RefineVIS
from refinevis_mm.registry import MODELS


def init_model(config: Union[str, Config],
               checkpoint: str,
               device: str = 'cpu',
               cfg_options: Optional[dict] = None,
               allow_mismatch: bool = False) -> RefineVIS:
    """Build a model for inference and load its weights.

    Args:
        config (str | :obj:`Config`): Config file, name of a shipped config,
            or the config.
        checkpoint (str): File or address of the weights.
        device (str): Where the model runs. Defaults to 'cpu'.
        cfg_options (dict, optional): Settings that override the config's.
            Defaults to None.
        allow_mismatch (bool): Load what fits of a checkpoint of another
            architecture instead of refusing it. Defaults to False.

    Returns:
        :obj:`RefineVIS`: In evaluation mode, with the attributes ``cfg`` and
        ``classes`` (list[str], empty where the checkpoint names none).

    Raises:
        OSError: If a file is missing.
        ValueError: If the config describes no model that can stream, or
            there is no such device.
        CheckpointError: If the checkpoint cannot be read.
        CheckpointMismatchError: If it belongs to another architecture; names
            the keys.
    """
    device = _check_device(device)
    cfg = config
    if isinstance(config, str):
        cfg = Config.fromfile(find_config(config))
    if cfg_options is not None:
        cfg.merge_from_dict(cfg_options)
    if cfg.get('model') is None:
        raise ValueError(f'config "{cfg.filename}" must have a "model"')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(cfg.model)
    if not isinstance(model, RefineVIS):
        raise ValueError(f'config "{cfg.filename}" must describe a RefineVIS, '
                         f'got {type(model).__name__}')
    loaded = load_checkpoint_strict(model, checkpoint, allow_mismatch)
    model.cfg = cfg
    model.classes = load_classes(loaded)
    return model.to(device).eval()


def find_config(name: str) -> str:
    """Find a config file, as mim does.

    Args:
        name (str): A path, or the base name of a shipped config.

    Returns:
        str: The path, or that of the config of this name in the installed
        package; ``name`` itself if there is none.
    """
    if not osp.exists(name):
        shipped = Path(refinevis_mm.__file__).parent / '.mim' / 'configs'
        for path in shipped.glob(f'*/{osp.basename(name)}'):
            return str(path)
    return name


def load_classes(checkpoint: dict) -> List[str]:
    """Class names that a checkpoint was trained for.

    Args:
        checkpoint (dict): As read from the file.

    Returns:
        list[str]: In the order of the labels; empty if there are none.
    """
    dataset_meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    return list(dataset_meta.get('classes') or [])


def _check_device(name: str) -> torch.device:
    """Raise ValueError if a device does not exist here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device "{name}" is not one of torch') from error
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'device "{name}" was asked for, but torch finds no '
                         'GPU')
    return device
