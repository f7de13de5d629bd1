# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How the documentation's big things become small, all in one place.

Commands stay as a user types them. Every config that is loaded goes through
:func:`small`, and some tools get more arguments.
"""
from typing import Any

from mmengine.config import Config

from tests.test_configs.test_training_step import CHANNELS, reduced_model

MAX_SIDE = 96  # pixels
SIZE_KEYS = ('scale', 'crop_size', 'size', 'scales')
# backbones of models that are small as they are, with weights in the
# repository; all others are made tiny
SMALL_BACKBONES = ('MobileNetV2', 'refinevis_mm.EfficientNetLite')
# tool: what is added to its command line
ARGUMENTS = {
    'make_occluded_shapes.py':
    ('--split train:2:0 --split valid:1:7 --frames 20 20 '
     '--size 96 64 --objects 3 4 --force'),
    'benchmark.py':
    '--shape 64 96 --repeats 1 --warmup 0 --frames 2',
    'benchmark_memory.py':
    '--shape 64 96 --frames 10 --modes online',
    'browse_dataset.py':
    '--number 1',
    'compose_clips.py':
    '--number 1',
    'fleet.py':  # no Ray, no pyarrow, no other processes
    '--engine serial --outputs results csv',
    'benchmark_fleet.py':
    '--workers 1 --outputs results',
    'make_everyday.py':
    '--valid-images 1',
    'three_phases.py':
    '--iters 2',
}
# options that a machine without a GPU refuses, taken out
NEEDS_GPU = ('--amp', )


def small(cfg: Config) -> Config:
    """One iteration or epoch, small frames, one process, tiny big models.

    Checkpoints keep their names (``iter_13000.pth``), since later commands
    use them. Nothing is downloaded.
    """
    _walk(cfg._cfg_dict)
    if str(cfg.get('load_from')).startswith('http'):
        cfg.load_from = None
    train_cfg = cfg.get('train_cfg') or {}
    for key, unit in (('max_iters', 'iter'), ('max_epochs', 'epoch')):
        length = train_cfg.get(key) or 1
        if length > 1:
            train_cfg.update({key: 1, 'val_interval': 1})
            hooks = cfg.default_hooks
            hooks.checkpoint.update(
                interval=1, filename_tmpl=f'{unit}_{length}.pth')
            hooks.logger.interval = 1
    if 'model' in cfg:
        _small_model(cfg)
    return cfg


def _small_model(cfg: Config) -> None:
    """A tiny model, unless it is small already."""
    frame_model = cfg.model.get('frame_model') or {}
    backbone = cfg.model.get('backbone') or frame_model.get('backbone') or {}
    if not frame_model or backbone.get('type', SMALL_BACKBONES[0]) in \
            SMALL_BACKBONES:
        return
    reduced_model(cfg)
    if frame_model.type.endswith('Mask2Former'):
        frame_model.head.in_channels = CHANNELS


def _walk(part: Any) -> None:
    """Loaders in this process, small batches and frames."""
    if isinstance(part, (list, tuple)):
        for item in part:
            _walk(item)
    if not isinstance(part, dict):
        return
    if 'num_workers' in part:
        part.update(num_workers=0, persistent_workers=False)
        part['batch_size'] = min(part.get('batch_size', 1), 2)
    for key, value in part.items():
        if key in SIZE_KEYS and isinstance(value, (list, tuple)):
            part[key] = _smaller(value)
        else:
            _walk(value)


def _smaller(value: Any) -> Any:
    """Sides of at most ``MAX_SIDE``, however deeply nested."""
    if isinstance(value, (list, tuple)):
        return type(value)(_smaller(item) for item in value)
    return min(value, MAX_SIDE) if isinstance(value, int) else value
