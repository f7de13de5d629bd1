# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A model from its name or its files."""
import inspect
import os.path as osp
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.utils import get_installed_path

import refinevis_mm
from refinevis_mm.models import (BaseVISModel, RFDETRSeg, Segmenter,
                                 StreamingTracker, TrackedSegmenter)
from refinevis_mm.models.frame_level.rfdetr_weights import (
    COCO_WEIGHTS, load_rfdetr_weights, read_rfdetr_checkpoint)
from refinevis_mm.registry import MODELS
from refinevis_mm.zoo import ZooEntry, fetch_weights, find_entry, licence_line
from refinevis_mm.zoo.loading import OWN, load_checkpoint_renamed
from .video_config import as_video_config

MMDET = 'mmdet::'


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
        checkpoint (str, optional): File or address of the weights. Defaults
            to None: ``config`` is the name of weights, which are fetched
            where they are not at hand.
        device (str): Where the model runs. Defaults to 'cpu'.
        cfg_options (dict, optional): Settings that override those of the
            model of video. Defaults to None.
        allow_mismatch (bool): Load what fits of a checkpoint of another
            architecture instead of refusing it. Defaults to False.

    Returns:
        :obj:`BaseVISModel`: In evaluation mode, with the attributes ``cfg``,
        ``classes`` (list[str], empty where nothing names any) and
        ``weights`` (str, the file).

    Raises:
        OSError: If a file is missing or cannot be fetched.
        ValueError: If there is no such name, the config describes no model
            that can stream, or there is no such device.
        CheckpointError: If the checkpoint cannot be read.
        CheckpointMismatchError: If it belongs to another architecture; names
            the keys.
    """
    device = _check_device(device)
    cfg, entry = _read_config(config, checkpoint is None)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    cfg = as_video_config(cfg)
    if cfg_options is not None:
        cfg.merge_from_dict(cfg_options)
    model = MODELS.build(cfg.model)
    if entry is not None:
        print_log(licence_line(entry), logger='current')
    model.classes = _load(model, checkpoint, entry, allow_mismatch)
    model.cfg = cfg
    if model.window == 0:
        print_log('refinement is off (window 0)', logger='current')
    return model.to(device).eval()


def _read_config(config: Union[str, Config],
                 by_name: bool) -> Tuple[Config, Optional[ZooEntry]]:
    """The config, and the entry of the zoo where a name was given."""
    if isinstance(config, Config) or not by_name:
        if by_name:
            raise ValueError('checkpoint must be given with a config, got '
                             'None')
        return (config if isinstance(config, Config) else Config.fromfile(
            find_config(config))), None
    if osp.exists(config) or config.endswith('.py'):
        raise ValueError(f'checkpoint must be given with the config file '
                         f'"{config}"; only names of weights go without')
    entry = find_entry(config)
    return Config.fromfile(find_config(entry.config)), entry


def _load(model: BaseVISModel, checkpoint: Optional[str],
          entry: Optional[ZooEntry], allow_mismatch: bool) -> List[str]:
    """Load the weights into a model; returns the class names."""
    if _is_of_rfdetr(model, checkpoint, entry):
        weights = COCO_WEIGHTS if entry is not None else checkpoint
        model.weights = load_rfdetr_weights(model.frame_model, weights).path
        return [] if entry is None else list(entry.classes)
    model.weights = str(checkpoint) if entry is None else fetch_weights(entry)
    loaded = load_checkpoint_renamed(model, model.weights, allow_mismatch)
    if loaded.family != OWN:
        print_log(f'{model.weights}: {loaded.summary}', 'current')
    classes = load_classes(loaded.checkpoint)
    if entry is not None and len(classes) != len(entry.classes):
        classes = list(entry.classes)  # of panoptic files, the things
    return classes


def _is_of_rfdetr(model: BaseVISModel, checkpoint: Optional[str],
                  entry: Optional[ZooEntry]) -> bool:
    """Whether the weights are a file of the rfdetr package."""
    if not isinstance(getattr(model, 'frame_model', None), RFDETRSeg):
        return False
    return entry is not None or not any(
        key.startswith('frame_model.')
        for key in read_rfdetr_checkpoint(checkpoint))


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
        ValueError: If there are no classes or an argument of the tracker is
            not allowed.
    """
    if isinstance(classes, str) or len(classes) == 0:
        raise ValueError('classes must be a list of names, got '
                         f'{classes!r}')
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
    return model.to(_check_device(device)).eval()


def find_config(name: str) -> str:
    """Find a config file, as mim does.

    Args:
        name (str): A path, the base name of a shipped config, or a config of
            mmdet as ``mmdet::folder/name.py``.

    Returns:
        str: The path, or that of the config of this name in the installed
        package; ``name`` itself if there is none.
    """
    if name.startswith(MMDET):
        folder = Path(get_installed_path('mmdet'), '.mim', 'configs')
        return str(folder / name[len(MMDET):])
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
        list[str]: In the order of the labels; empty if there are none. Files
        of mmdet 2.x have them under another name.
    """
    meta = checkpoint.get('meta') or {}
    dataset_meta = meta.get('dataset_meta') or {}
    found = {str(key).lower(): value for key, value in dataset_meta.items()}
    return list(found.get('classes') or meta.get('CLASSES') or [])


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
