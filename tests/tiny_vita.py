# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The shipped VITA, made tiny."""
import torch
from mmengine.config import Config

from refinevis_mm.registry import MODELS
from tests.tiny_mask2former import TINY_BACKBONE, TINY_HEAD

CONFIG = 'configs/vita/vita_r50_8xb1-140k_youtubevis2019.py'
TINY_CLIP_HEAD = dict(
    num_frame_queries=12,
    num_queries=8,
    in_channels=32,
    embed_dims=32,
    mask_dims=32,
    feedforward_channels=32,
    num_encoder_layers=2,
    num_decoder_layers=2)


def tiny_vita(path: str = CONFIG, **options):
    """A tiny model of a config with random weights.

    Args:
        path: The config.
        options: Arguments of the model.
    """
    cfg = Config.fromfile(path)
    tiny = dict(
        num_streams=2,
        frame_model=dict(
            init_cfg=None, backbone=TINY_BACKBONE, head=TINY_HEAD),
        clip_head=TINY_CLIP_HEAD)
    cfg.merge_from_dict(dict(model=dict(tiny, **options)))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model
