# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The official settings of CTVIS, and a video with a tiny model of it."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from refinevis_mm.registry import MODELS
from tests.demo_clips import demo_clip
from tests.tiny_mask2former import TINY_BACKBONE, TINY_HEAD

ROOT = Path(__file__).parents[2] / 'configs' / 'ctvis'
CONFIGS = sorted(path.name for path in ROOT.glob('*.py'))


def tiny(name):
    """The model of a config, small; nothing is fetched."""
    cfg = Config.fromfile(ROOT / name)
    width = dict(in_channels=32, feat_channels=32, embed_dims=32)
    cfg.merge_from_dict(
        dict(
            model=dict(
                frame_model=dict(backbone=TINY_BACKBONE, head=TINY_HEAD),
                association_head=width)))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    return model


def test_there_are_six():
    assert len(CONFIGS) == 6


@pytest.mark.parametrize('name', CONFIGS)
def test_settings(name):
    cfg = Config.fromfile(ROOT / name)
    num_classes = 25 if 'ovis' in name else 40
    head = cfg.model.frame_model.head
    assert head.num_things_classes == num_classes
    assert len(head.loss_cls.class_weight) == num_classes + 1
    assert head.num_queries == (200 if 'swin-l' in name else 100)
    assert cfg.model.max_per_video == num_classes
    tracker = cfg.model.tracker
    assert tracker.match_score_thr == tracker.frame_weight_thr == 0.3
    assert (tracker.memory_type, tracker.memory_len) == ('similarity', 10)
    resize = cfg.test_dataloader.dataset.pipeline[0].transforms[1]
    assert resize.scale == (1333, 480)
    assert 'ctvis' in cfg.test_evaluator.outfile_prefix
    root = cfg.test_dataloader.dataset.data_root.replace('_', '')
    assert root == f'data/{Path(name).stem.split("_")[-1]}/'


@pytest.mark.parametrize('name',
                         ['ctvis_r50_ovis.py', 'ctvis_r50_youtubevis2021.py'])
def test_a_video(name):
    model = tiny(name)
    frames = 3
    sample = demo_clip([[(8, 8, 40, 40)]] * frames, [1], [0])
    with torch.no_grad():
        out, = model.predict(torch.randn(1, frames, 3, 64, 96), [sample])
    # as many as classes, however low their scores are
    rows = out.metainfo['pred_tracklets']
    assert len(rows) == model.frame_model.num_classes
