# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""IDOL's configs, made tiny."""
from mmengine.config import Config

MODEL_CONFIG = 'configs/_base_/models/idol_r50.py'
TINY_BACKBONES = dict(
    ResNet=dict(depth=18, base_channels=8, init_cfg=None),
    SwinTransformer=dict(
        embed_dims=8,
        depths=(1, 1, 2, 1),
        num_heads=(1, 2, 4, 8),
        init_cfg=None))
TINY_CHANNELS = [16, 32, 64]


def tiny_idol_cfg(path: str = MODEL_CONFIG) -> Config:
    """A config of IDOL with every part, of small size."""
    cfg = Config.fromfile(path)
    dims = dict(embed_dims=32)
    layers = dict(num_layers=2, feedforward_channels=32)
    # beside the frame model in the config of a detector of images
    is_image = 'backbone' in cfg.model
    owner = cfg.model if is_image else cfg.model.frame_model
    owner.backbone.update(TINY_BACKBONES[owner.backbone.type])
    model = dict(
        frame_model=dict(
            neck=dict(in_channels=TINY_CHANNELS, out_channels=32),
            encoder=dict(**layers, **dims),
            decoder=dict(num_queries=12, **layers, **dims),
            head=dict(num_layers=2, **dims)))
    if not is_image:
        model['association_head'] = dict(
            in_channels=32, feat_channels=32, **dims)
    cfg.merge_from_dict(dict(model=model))
    return cfg


def tiny_tar_head_cfg() -> dict:
    """Refinement for the tiny model: the options of RefineVIS it needs."""
    return dict(
        tracklet_builder=dict(
            type='refinevis_mm.MatchedTrackletBuilder',
            score_thr=0.0,
            iou_thr=0.0,
            num_background=4),
        tar_head=dict(
            type='refinevis_mm.TARHead',
            embed_dims=32,
            feedforward_channels=32,
            loss_cls=dict(
                type='FocalLoss',
                use_sigmoid=True,
                gamma=2.0,
                alpha=0.25,
                loss_weight=2.0),
            loss_mask=dict(num_points=64, mask_weight=2.0, dice_weight=5.0)))
