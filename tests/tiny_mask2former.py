# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What makes configs with Mask2Former's parts tiny."""
from mmengine.config import Config

CONFIG = 'configs/refinevis/' \
    'refinevis_mask2former-r50_8xb2-13k_youtubevis2021.py'
DIMS = dict(embed_dims=32)
TINY_BACKBONE = dict(depth=18, base_channels=8, init_cfg=None)
TINY_TAR_HEAD = dict(
    feedforward_channels=32, loss_mask=dict(num_points=64), **DIMS)

_ffn = dict(feedforward_channels=32, **DIMS)
TINY_HEAD = dict(
    in_channels=[8, 16, 32, 64],
    feat_channels=32,
    out_channels=32,
    num_queries=12,
    pixel_decoder=dict(
        encoder=dict(
            num_layers=1, layer_cfg=dict(self_attn_cfg=DIMS, ffn_cfg=_ffn)),
        positional_encoding=dict(num_feats=16)),
    positional_encoding=dict(num_feats=16),
    transformer_decoder=dict(
        num_layers=2,
        layer_cfg=dict(self_attn_cfg=DIMS, cross_attn_cfg=DIMS, ffn_cfg=_ffn)),
    train_cfg=dict(num_points=64))


def tiny_mask2former_cfg():
    """The shipped model on Mask2Former, made tiny."""
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        dict(
            model=dict(
                frame_model=dict(
                    init_cfg=None, backbone=TINY_BACKBONE, head=TINY_HEAD),
                association_head=dict(
                    in_channels=32, feat_channels=32, **DIMS),
                tar_head=TINY_TAR_HEAD)))
    return cfg.model
