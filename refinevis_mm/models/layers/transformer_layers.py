# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""mmdet's deformable transformer layers on our deformable attention."""
from typing import List, Tuple

import torch
from mmdet.models.layers.transformer import (
    DeformableDetrTransformerDecoderLayer, DeformableDetrTransformerEncoder,
    DeformableDetrTransformerEncoderLayer)
from mmengine.model import ModuleList
from torch import Tensor

from .ms_deform_attn import MultiScaleDeformableAttention


class DeformableEncoderLayer(DeformableDetrTransformerEncoderLayer):
    """Encoder layer of Deformable DETR with a choice of backends."""

    def _init_layers(self) -> None:
        """Initialise self_attn, ffn and norms."""
        super()._init_layers()
        self.self_attn = MultiScaleDeformableAttention(**self.self_attn_cfg)


class DeformableDecoderLayer(DeformableDetrTransformerDecoderLayer):
    """Decoder layer of Deformable DETR with a choice of backends."""

    def _init_layers(self) -> None:
        """Initialise self_attn, cross_attn, ffn and norms."""
        super()._init_layers()
        self.cross_attn = MultiScaleDeformableAttention(**self.cross_attn_cfg)


class DeformableEncoder(DeformableDetrTransformerEncoder):
    """Encoder of Deformable DETR with a choice of backends."""

    def _init_layers(self) -> None:
        """Initialise the layers."""
        self.layers = ModuleList([
            DeformableEncoderLayer(**self.layer_cfg)
            for _ in range(self.num_layers)
        ])
        self.embed_dims = self.layers[0].embed_dims


def flatten_levels(
        feats: List[Tensor]) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Concatenate feature maps the way deformable attention reads them.

    Args:
        feats (list[Tensor]): Feature maps, each (B, C, h_l, w_l).

    Returns:
        tuple[Tensor]: Values (B, sum(h_l * w_l), C), spatial shapes (levels,
        2) as (h, w), start index of each level (levels, ) and valid ratios
        of ones (B, levels, 2): padding counts as picture, as in MaskDINO.
    """
    value = torch.cat([feat.flatten(2).transpose(1, 2) for feat in feats], 1)
    shapes = torch.tensor([feat.shape[-2:] for feat in feats],
                          dtype=torch.long,
                          device=value.device)
    sizes = shapes.prod(1)
    starts = sizes.cumsum(0) - sizes
    ratios = value.new_ones(len(value), len(feats), 2)
    return value, shapes, starts, ratios
