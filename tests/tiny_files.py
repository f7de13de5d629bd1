# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Files of a tiny model with random weights, and tiny videos."""
from pathlib import Path
from typing import List, Tuple

import numpy as np
import torch
from mmengine.config import Config

from refinevis_mm.registry import MODELS
from tests.demo_clips import tiny_model_cfg

CLASSES = ('cat', 'dog', 'owl', 'fox')
SCALE = (64, 48)  # (width, height) that the model sees


def write_model_files(folder: Path) -> Tuple[str, str]:
    """Write ``tiny.py`` and ``tiny.pth``; returns their paths.

    The classification bias is raised, so that every frame has detections.
    """
    config, checkpoint = folder / 'tiny.py', folder / 'tiny.pth'
    pipeline = [
        dict(
            type='TransformBroadcaster',
            transforms=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=SCALE, keep_ratio=True)
            ]),
        dict(type='PackTrackInputs')
    ]
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=tiny_model_cfg(**{'model.window': 4}),
            test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for name, value in model.frame_model.named_parameters():
        if 'cls' in name and name.endswith('bias'):
            value.data.fill_(0.5)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    cfg.dump(str(config))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), str(checkpoint))
    return str(config), str(checkpoint)


def random_frames(num: int,
                  height: int = 60,
                  width: int = 80,
                  seed: int = 0) -> List[np.ndarray]:
    """Smooth random images (height, width, 3), uint8, that differ."""
    rng = np.random.default_rng(seed)
    return [
        np.kron(
            rng.integers(0, 255, (height // 10, width // 10, 3)),
            np.ones((10, 10, 1))).astype(np.uint8) for _ in range(num)
    ]
