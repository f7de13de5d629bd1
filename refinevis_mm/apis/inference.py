# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A model from its name or its files."""
import copy
import inspect
import os.path as osp
from glob import escape
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import init_default_scope
from mmengine.utils import get_installed_path
from torch import nn

import refinevis_mm
from refinevis_mm.models import (BaseVISModel, RefineVIS, RFDETRSeg, Segmenter,
                                 StreamingTracker, TrackedSegmenter)
from refinevis_mm.models.frame_level.rfdetr_weights import (
    load_rfdetr_weights, read_rfdetr_checkpoint)
from refinevis_mm.registry import MODELS
from refinevis_mm.zoo import (ZooEntry, fetch_address, fetch_weights,
                              find_entry, licence_line)
from refinevis_mm.zoo.loading import OWN, load_checkpoint_renamed, load_classes
from .video_config import as_video_config

MMDET = 'mmdet::'
SUFFIXES = ('.pth', '.pt', '.ckpt', '.pkl', '.safetensors')  # of weights


def init_model(config: Union[str, Config],
               checkpoint: Optional[str] = None,
               device: str = 'cpu',
               cfg_options: Optional[dict] = None,
               allow_mismatch: bool = False) -> BaseVISModel:
    """Build a model for inference and load its weights.

    Args:
        config (str | :obj:`Config`): Name of weights
            (``python -m refinevis_mm.zoo`` lists them), config file, name of
            a shipped config or of one of mmdet (``mmdet::folder/name.py``),
            or the config. Image models are followed with
            :class:`StreamingTracker`, see :func:`as_video_config`.
        checkpoint (str, optional): File, address or name of the weights.
            Defaults to None: ``config`` is the name of weights, which are
            fetched where they are not at hand.
        device (str): Where the model runs. Defaults to 'cpu'.
        cfg_options (dict, optional): Settings that override those of the
            model of video. Defaults to None.
        allow_mismatch (bool): Load what fits of a checkpoint of another
            architecture instead of refusing it; not of a file of the rfdetr
            package. Defaults to False.

    Returns:
        :obj:`BaseVISModel`: In evaluation mode, with the attributes ``cfg``,
        ``classes`` (list[str], empty where nothing names any) and
        ``weights`` (str, the file).

    Raises:
        OSError: If a file is missing or cannot be fetched.
        ImportError: If they need a package that is not installed.
        ValueError: If there is no such name, no checkpoint is given with a
            config, the config describes no model that can stream, or there
            is no such device.
        CheckpointError: If the checkpoint cannot be fetched or read.
        CheckpointMismatchError: If it belongs to another architecture; names
            the keys.
    """
    device = check_device(device)
    cfg, checkpoint = resolve_model(config, checkpoint, cfg_options)
    model = MODELS.build(cfg.model)
    model.weights, entry = find_checkpoint(checkpoint)
    model.classes = load_model_weights(model, model.weights, allow_mismatch)
    if entry is not None and len(model.classes) != len(entry.classes):
        model.classes = list(entry.classes)
    model.cfg = cfg
    if model.window == 0:
        print_log('refinement is off (window 0)', logger='current')
    model.to(device).eval()
    if isinstance(model, RefineVIS):
        model.frame_model.fold_norms()
    return model


def resolve_model(config: Union[str, Config],
                  checkpoint: Optional[str] = None,
                  cfg_options: Optional[dict] = None) -> Tuple[Config, str]:
    """Find out what :func:`init_model` builds, without building it.

    Args:
        config (str | :obj:`Config`): See :func:`init_model`.
        checkpoint (str, optional): See :func:`init_model`. Defaults to None.
        cfg_options (dict, optional): Settings that override those of the
            model of video. Defaults to None.

    Returns:
        tuple[:obj:`Config`, str]: A config of a model of video, and file,
        address or name of its weights; :func:`init_model` takes both.

    Raises:
        OSError: If the config file is missing.
        ValueError: See :func:`init_model`.
    """
    if checkpoint is None:
        config, checkpoint = _files_of(config)
    cfg = Config.fromfile(find_config(config)) if isinstance(
        config, str) else copy.deepcopy(config)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    cfg = as_video_config(cfg)
    if cfg_options is not None:
        cfg.merge_from_dict(cfg_options)
    return cfg, checkpoint


def _files_of(name: Union[str, Config]) -> Tuple[str, str]:
    """Config and checkpoint of a name of weights."""
    if isinstance(name, Config):
        raise ValueError('checkpoint must be given with a config, got None')
    if osp.isfile(name) or name.endswith('.py'):
        raise ValueError('checkpoint must be given with the config file '
                         f'"{name}"; only names of weights go without')
    return _shipped_config(find_entry(name).config), name


def find_checkpoint(checkpoint: str) -> Tuple[str, Optional[ZooEntry]]:
    """Find a checkpoint file; fetch it if it is named and not at hand.

    The licence of named weights is printed.

    Args:
        checkpoint (str): File, address, or name of weights.

    Returns:
        tuple: File, which may not exist if it was given, and the entry of
        the zoo where a name was.

    Raises:
        OSError: If named weights or an address cannot be fetched.
        ValueError: If there are no weights of this name, or the address is
            of another kind.
        CheckpointError: If the package rfdetr cannot fetch them.
        ImportError: If that package is needed and not installed.
    """
    checkpoint = str(checkpoint)
    if '://' in checkpoint:
        return fetch_address(checkpoint), None
    if osp.isfile(checkpoint) or checkpoint.endswith(SUFFIXES):
        return checkpoint, None
    entry = find_entry(checkpoint)
    print_log(licence_line(entry), logger='current')
    return fetch_weights(entry), entry


def load_model_weights(model: nn.Module,
                       path: str,
                       allow_mismatch: bool = False) -> List[str]:
    """Load a checkpoint of this project, of mmdet or of the rfdetr package.

    Args:
        model (nn.Module): The model, wrapped for distribution or not.
        path (str): A file or an http(s) address.
        allow_mismatch (bool): Load what fits of a checkpoint of another
            architecture instead of refusing it; not of a file of the rfdetr
            package. Defaults to False.

    Returns:
        list[str]: Class names in the file, empty if there are none.

    Raises:
        OSError: If the file is missing or cannot be fetched.
        CheckpointError: If the checkpoint cannot be read.
        CheckpointMismatchError: If it belongs to another architecture.
    """
    if is_model_wrapper(model):
        model = model.module
    frame_model = getattr(model, 'frame_model', None)
    if isinstance(frame_model, RFDETRSeg) and not any(
            key.startswith('frame_model.')
            for key in read_rfdetr_checkpoint(path)):
        return load_rfdetr_weights(frame_model, path).classes
    loaded = load_checkpoint_renamed(model, path, allow_mismatch)
    if loaded.family != OWN:
        print_log(f'{path}: {loaded.summary}', 'current')
    # files of panoptic models name stuff behind the things
    return load_classes(
        loaded.checkpoint)[:getattr(frame_model, 'num_classes', None)]


def track_segmenter(segmenter: Segmenter, classes: Sequence[str], device: str,
                    tracker: dict) -> TrackedSegmenter:
    """A model of video around a segmenter that has no config.

    Args:
        segmenter (:obj:`Segmenter`): Gets images of shape (3, H, W) with the
            pixels as they are, BGR, 0 to 255, as floats.
        classes (Sequence[str]): Class names in the order of its labels.
        device (str): Where masks are compared.
        tracker (dict): Arguments of :class:`StreamingTracker`.

    Returns:
        :obj:`TrackedSegmenter`: As :func:`init_model` returns a model.

    Raises:
        ValueError: If an argument of the tracker is not allowed, or there is
            no such device.
    """
    init_default_scope('mmdet')
    known = inspect.signature(StreamingTracker).parameters
    for name in tracker:
        if name not in known:
            raise ValueError(f'StreamingTracker has no argument "{name}"; '
                             f'there are {", ".join(known)}')
    model = TrackedSegmenter(
        segmenter,
        tracker=dict(tracker, type='refinevis_mm.StreamingTracker'),
        data_preprocessor=dict(type='TrackDataPreprocessor'))
    model.classes = list(classes)
    model.cfg = Config(
        dict(model=dict(segmenter=segmenter.name, tracker=dict(tracker))))
    model.weights = ''
    return model.to(check_device(device)).eval()


def find_config(name: str) -> str:
    """Find a config file, as mim does.

    Args:
        name (str): A path, the base name of a shipped config, a config of
            mmdet as ``mmdet::folder/name.py``, or a name of weights, whose
            config it is.

    Returns:
        str: The path, or that of the config of this name in the installed
        package; where there is none, a path that does not exist.

    Raises:
        ValueError: If it is no file name and there are no such weights.
    """
    if osp.isfile(name):
        return name
    return _shipped_config(
        name if name.endswith('.py') else find_entry(name).config)


def _shipped_config(name: str) -> str:
    """Path of a config of mmdet or of ours, which may not exist."""
    if osp.isabs(name):  # of a name of the user
        return name
    if name.startswith(MMDET):
        folder = Path(get_installed_path('mmdet'), '.mim', 'configs')
        return str(folder / name[len(MMDET):])
    package = Path(refinevis_mm.__file__).parent
    # of a wheel or development install, and of a source checkout
    for folder in (package / '.mim' / 'configs', package.parent / 'configs'):
        for path in folder.glob(f'*/{escape(osp.basename(name))}'):
            return str(path)
    return name


def check_device(name: str) -> torch.device:
    """Find a device by its name.

    Args:
        name (str): Such as 'cpu' or 'cuda:1'.

    Returns:
        torch.device: The device.

    Raises:
        ValueError: If torch does not know it, or there is no GPU for it.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device "{name}" is not one of torch') from error
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'device "{name}" was asked for, but torch finds no '
                         'GPU')
    return device
