# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One training step of every shipped config, at reduced size.

Configs whose reduced model and optimizer are the same share one step. The
ablations have a test of their own, and the drop-in models, which need
compiled operators, those of the adapters.
"""
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData

from refinevis_mm.models import VITA, RefineVIS, SeqFormer
from refinevis_mm.registry import MODELS
from tests.demo_clips import two_object_clip

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ('refinevis', 'maskdino', 'idol', 'minvis', 'seqformer',
                   'vita')
    for path in (ROOT / 'configs' / folder).glob('*xb*.py'))
CHANNELS = [8, 16, 32, 64]  # of the backbone's maps
BACKBONES = dict(
    ResNet=dict(depth=18, base_channels=CHANNELS[0]),
    SwinTransformer=dict(
        embed_dims=CHANNELS[0],
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 4, 8],
        window_size=4),
    MobileNetV2=dict(),
    EfficientNetLite=dict())
SIZES = dict(
    embed_dims=32,
    mask_dims=32,
    feat_channels=32,
    out_channels=32,
    feedforward_channels=32,
    num_feats=16,
    num_queries=12,
    num_frame_queries=12,
    num_streams=2,
    num_dn_pairs=4,
    num_dn_queries=4,
    num_points=64,
    num_match_points=64,
    num_layers=2)


def reduce_sizes(cfg):
    """Smaller numbers wherever a config has them, in place."""
    for key, value in cfg.items():
        if key == 'backbone':
            if value is not None:
                value.update(
                    BACKBONES[value.type.split('.')[-1]], init_cfg=None)
        elif key == 'init_cfg':
            cfg[key] = None
        elif key == 'in_channels' and isinstance(value, int):
            cfg[key] = SIZES['embed_dims']
        elif key in SIZES and isinstance(value, int):
            cfg[key] = min(value, SIZES[key])
        elif isinstance(value, dict):
            reduce_sizes(value)


def reduced_model(cfg):
    """Config of the reduced model."""
    model = cfg.model
    backbone = model.get('backbone') or model.frame_model.backbone
    reduce_sizes(model)
    if 'base_channels' in backbone or 'embed_dims' in backbone:
        for part in ('pixel_decoder', 'head', 'neck'):
            part = model.frame_model.get(part, {})
            if isinstance(part.get('in_channels'), list):
                part.in_channels = CHANNELS[-len(part.in_channels):]
    return model


def _image():
    """An image with one object, for the image-level models."""
    masks = np.zeros((1, 64, 96), np.uint8)
    masks[:, 8:40, 8:40] = 1
    sample = DetDataSample(
        metainfo=dict(img_shape=(64, 96), ori_shape=(64, 96)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]),
        labels=torch.tensor([2]),
        masks=BitmapMasks(masks, 64, 96))
    return torch.randn(1, 3, 64, 96), [sample]


@lru_cache(maxsize=None)
def training_step(text):
    """Build and train for a step; returns what is to be checked."""
    cfg = Config.fromstring(text, '.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    if isinstance(model, (RefineVIS, SeqFormer, VITA)):
        data = torch.randn(1, 2, 3, 64, 96), [two_object_clip(labels=[2, 0])]
    else:
        data = _image()
    before = {
        name: param.detach().clone()
        for name, param in model.named_parameters() if param.requires_grad
    }
    losses = model.loss(*data)
    total = sum(losses.values())
    wrapper.backward(total)
    after = dict(model.named_parameters())
    no_grad = [name for name in before if after[name].grad is None]
    wrapper.step()
    moved = any(not torch.equal(value, after[name])
                for name, value in before.items())
    finite = bool(torch.isfinite(total)) and all(param.isfinite().all()
                                                 for param in after.values())
    return finite, no_grad, moved, sorted(losses)


@pytest.mark.parametrize('path', CONFIGS)
def test_training_step(path):
    cfg = Config.fromfile(str(ROOT / path))
    text = Config(
        dict(model=reduced_model(cfg),
             optim_wrapper=cfg.optim_wrapper)).pretty_text
    finite, no_grad, moved, losses = training_step(text)
    assert finite and moved
    assert no_grad == []
    model = cfg.model
    assert any('assoc' in name for name in losses) == \
        (model.get('association_head') is not None)
    assert any('refine' in name
               for name in losses) == bool(model.get('tar_head'))
    assert any('refine_cdn' in name
               for name in losses) == bool(model.get('temporal_cdn'))
