# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RefineVIS itself: resumed after half of the iterations, equal at the end."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tests.demo_clips import tiny_model_cfg

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/refinevis/refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py'


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    subprocess.run([
        sys.executable,
        str(ROOT / 'tools/dataset_converters/make_occluded_shapes.py'),
        str(folder), '--split', 'train:2:0', '--frames', '20', '20', '--size',
        '64', '96'
    ],
                   check=True,
                   env=dict(os.environ, PYTHONPATH=str(ROOT)),
                   stdout=subprocess.DEVNULL)
    return str(folder) + '/'


def _train(data_root, work_dir, resume_from=None):
    """Train four iterations; returns the final weights."""
    cfg = Config.fromfile(str(ROOT / CONFIG))
    cfg.model = tiny_model_cfg()
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.data_root = data_root
    cfg.train_cfg.max_iters = 4
    cfg.default_hooks.checkpoint.update(interval=2, save_best=None)
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg',
                'test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg[key] = None
    if resume_from is not None:
        cfg.resume, cfg.load_from = True, str(resume_from)
    cfg.experiment_name = work_dir.name
    Runner.from_cfg(cfg).train()
    return torch.load(work_dir / 'iter_4.pth', weights_only=True)['state_dict']


@pytest.mark.slow
def test_resumed_run_equals_an_uninterrupted_one(data_root, tmp_path):
    whole = _train(data_root, tmp_path / 'whole')
    rest = _train(data_root, tmp_path / 'rest',
                  tmp_path / 'whole' / 'iter_2.pth')
    half = torch.load(
        tmp_path / 'whole' / 'iter_2.pth', weights_only=True)['state_dict']
    assert any(not torch.equal(whole[key], half[key]) for key in whole)
    for key in whole:
        assert torch.equal(whole[key], rest[key]), key
