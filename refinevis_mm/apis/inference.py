# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A model from its files, and frames streamed through it."""
import os.path as osp
from collections import deque
from pathlib import Path
from typing import Iterable, Iterator, List, Optional, Tuple, Union

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

import refinevis_mm
from refinevis_mm.compat.checkpoints import load_checkpoint_strict
from refinevis_mm.models.refinevis import RefineVIS
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameResult


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


def stream_video(
        model: RefineVIS, frames: Iterable[np.ndarray]
) -> Iterator[Tuple[np.ndarray, FrameResult]]:
    """Run a model over the frames of a video.

    Online a frame leaves before the next one is asked for; offline up to
    ``model.window`` frames are held.

    Args:
        model (:obj:`RefineVIS`): From :func:`init_model`.
        frames (Iterable[np.ndarray]): Images of shape (H, W, 3), uint8, BGR.

    Yields:
        tuple[np.ndarray, :obj:`FrameResult`]: Each frame, in order, and its
        result.
    """
    for image, result, _ in _stream(model, frames, compare=False):
        yield image, result


def stream_video_compared(
    model: RefineVIS, frames: Iterable[np.ndarray]
) -> Iterator[Tuple[np.ndarray, FrameResult, FrameResult]]:
    """Like :func:`stream_video`, with the results before refinement.

    Args:
        model (:obj:`RefineVIS`): From :func:`init_model`.
        frames (Iterable[np.ndarray]): Images of shape (H, W, 3), uint8, BGR.

    Yields:
        tuple[np.ndarray, :obj:`FrameResult`, :obj:`FrameResult`]: Each
        frame, its result and its frame-level result. Both use the same ids.
    """
    yield from _stream(model, frames, compare=True)


@torch.no_grad()
def _stream(
    model: RefineVIS, frames: Iterable[np.ndarray], compare: bool
) -> Iterator[Tuple[np.ndarray, FrameResult, Optional[FrameResult]]]:
    """Frame, result and, if ``compare``, frame-level result."""
    resize = _build_resize(model.cfg)
    state = model.init_stream()
    waiting = deque()
    for frame_id, frame in enumerate(frames):
        image, meta = _preprocess(model, resize, frame, frame_id)
        tracks = model.track(image, meta, state)
        waiting.append((frame, model.decode(tracks) if compare else None))
        yield from _pair(waiting, model.refine(tracks, state))
    yield from _pair(waiting, model.flush(state))


def _pair(
    waiting: deque, results: List[FrameResult]
) -> Iterator[Tuple[np.ndarray, FrameResult, Optional[FrameResult]]]:
    """Take the frames of ``results`` from those that wait."""
    for result in results:
        frame, frame_level = waiting.popleft()
        yield frame, result, frame_level


def _preprocess(model: RefineVIS, resize: Optional[BaseTransform],
                frame: np.ndarray, frame_id: int) -> Tuple[Tensor, dict]:
    """Bring a frame to what :meth:`RefineVIS.step` takes."""
    data = dict(img=frame, img_shape=frame.shape[:2])
    if resize is not None:
        data = resize(data)
    meta = dict(
        frame_id=frame_id,
        img_shape=data['img_shape'],
        ori_shape=frame.shape[:2])
    sample = TrackDataSample()
    sample.video_data_samples = [DetDataSample(metainfo=meta)]
    image = torch.from_numpy(np.ascontiguousarray(data['img']))
    batch = model.data_preprocessor(
        dict(inputs=[image.permute(2, 0, 1)[None]], data_samples=[sample]))
    return batch['inputs'][0, 0], meta


def _build_resize(cfg: Config) -> Optional[BaseTransform]:
    """The resizing step of the test pipeline, however deeply nested."""
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    steps = list(dataset.get('pipeline', []))
    while steps:
        step = steps.pop(0)
        if step['type'].split('.')[-1] == 'Resize':
            return TRANSFORMS.build(step)
        steps = list(step.get('transforms', [])) + steps
    return None


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
