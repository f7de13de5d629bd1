# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""SeqFormer's configs, made tiny."""
from mmengine.config import Config

from tests.tiny_idol import TINY_BACKBONES, TINY_CHANNELS

MODEL_CONFIG = 'configs/_base_/models/seqformer_r50.py'


def tiny_seqformer_cfg(path: str = MODEL_CONFIG, **options) -> Config:
    """A config of SeqFormer of small size; ``options`` are the model's."""
    cfg = Config.fromfile(path)
    dims = dict(embed_dims=32)
    layers = dict(num_layers=2, feedforward_channels=32, dropout=0.0)
    backbone = cfg.model.frame_model.backbone
    backbone.update(TINY_BACKBONES[backbone.type])
    cfg.merge_from_dict(
        dict(
            model=dict(
                frame_model=dict(
                    neck=dict(in_channels=TINY_CHANNELS, out_channels=32),
                    encoder=dict(**layers, **dims),
                    decoder=dict(num_queries=12, **layers, **dims),
                    head=dict(num_layers=2, **dims)),
                **options)))
    return cfg
