# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The phases of the everyday model: their order, schedules and sizes."""
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from refinevis_mm.datasets.everyday_images import CLASSES
from refinevis_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
PATHS = {
    path.stem: path
    for path in ROOT.glob('configs/*/*_efficientnet-lite0_*.py')
}
FINE_TUNING, = (name for name in PATHS if name.endswith('custom-vis'))
PHASES = sorted(PATHS.keys() - {FINE_TUNING})  # those of images come first
SHAPES = 'checkpoints/refinevis_mobilenet-v2_occluded-shapes.pth'
MAX_PARAMS = 15e6


def _load(name):
    return Config.fromfile(str(PATHS[name]))


def _parent(name):
    """Name of the config that a phase starts from and its checkpoint."""
    _, parent, checkpoint = _load(name).load_from.split('/')
    return parent, checkpoint


def test_phases_start_one_from_the_other():
    first, = (name for name in PHASES if _load(name).load_from == SHAPES)
    assert (ROOT / SHAPES).exists()
    assert _load(first).model.allow_mismatch
    order = {first}
    for name in PHASES * len(PHASES):
        if name != first and _parent(name)[0] in order:
            order.add(name)
    assert order == set(PHASES)
    for name in order - {first}:
        parent, checkpoint = _parent(name)
        assert checkpoint == f'iter_{_load(parent).train_cfg.max_iters}.pth'
        assert not _load(name).model.get('allow_mismatch')


@pytest.mark.parametrize('name', PATHS)
def test_schedule(name):
    cfg = _load(name)
    gpus, batch, length = re.search(r'_(\d)xb(\d)-(\w+)_', name).groups()
    max_iters = int(length.replace('k', '000'))
    assert cfg.train_cfg.max_iters == max_iters
    assert cfg.param_scheduler[1].end == max_iters
    # the last one is validated and the next phase finds it
    assert max_iters % cfg.train_cfg.val_interval == 0
    assert max_iters % cfg.default_hooks.checkpoint.interval == 0
    assert cfg.train_dataloader.batch_size == int(batch)
    assert cfg.auto_scale_lr.base_batch_size == int(gpus) * int(batch)
    assert [hook.type for hook in cfg.custom_hooks].count('EMAHook') == 1


@pytest.mark.parametrize('name', PHASES)
def test_same_frame_model_in_all_phases(name):
    cfg = _load(name)
    first = _load(PHASES[0])
    frame_model = cfg.model.frame_model.to_dict()
    backbone = cfg.model.get('backbone') or frame_model.pop('backbone')
    backbone.pop('init_cfg', None)  # the first phase has those of ImageNet
    first.model.backbone.pop('init_cfg')
    assert backbone == first.model.backbone
    expected = first.model.frame_model.to_dict()
    assert frame_model['head']['num_classes'] == len(CLASSES)
    for key in ('pixel_decoder', 'decoder', 'num_queries'):
        assert frame_model[key] == expected[key], key


@pytest.mark.parametrize('name', PATHS)
def test_number_of_parameters(name):
    cfg = _load(name)
    (cfg.model.get('backbone') or cfg.model.frame_model.backbone).init_cfg = \
        None
    model = MODELS.build(cfg.model)
    assert sum(param.numel() for param in model.parameters()) < MAX_PARAMS
