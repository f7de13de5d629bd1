# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""mmdet's deformable transformer layers on our deformable attention."""
from typing import List, Optional, Tuple

import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
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


class SelfAttention(MultiheadAttention):
    """mmcv's module without the average over heads of the attention.

    Nobody reads that average, and PyTorch's fused attention does not make it.
    """

    def forward(self,
                query: Tensor,
                query_pos: Optional[Tensor] = None,
                attn_mask: Optional[Tensor] = None,
                **kwargs) -> Tensor:
        """Attend among queries.

        Args:
            query (Tensor): Has shape (bs, Q, C).
            query_pos (Tensor, optional): Added to queries and keys, has shape
                (bs, Q, C).
            attn_mask (Tensor, optional): Bool, True blocks, has shape (Q, Q).

        Returns:
            Tensor: Attended queries plus ``query``, has shape (bs, Q, C).
        """
        tokens = query if query_pos is None else query + query_pos
        tokens, value = tokens.transpose(0, 1), query.transpose(0, 1)
        output = self.attn(
            tokens, tokens, value, attn_mask=attn_mask, need_weights=False)[0]
        return query + self.dropout_layer(
            self.proj_drop(output.transpose(0, 1)))


class DeformableDecoderLayer(DeformableDetrTransformerDecoderLayer):
    """Decoder layer of Deformable DETR with a choice of backends."""

    def _init_layers(self) -> None:
        """Initialise self_attn, cross_attn, ffn and norms."""
        super()._init_layers()
        self.self_attn = SelfAttention(**self.self_attn_cfg)
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
