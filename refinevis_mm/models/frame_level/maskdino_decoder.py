# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Transformer decoder of MaskDINO with box refinement."""
from typing import List, Optional, Tuple

from mmdet.models.layers import MLP, coordinate_to_encoding, inverse_sigmoid
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from ..layers.transformer_layers import DeformableDecoderLayer, FFNReLU

# Clamp of the inverse sigmoid, as in the official MaskDINO (mmdet's DINO
# uses 1e-3).
LOGIT_EPS = 1e-5


@MODELS.register_module()
class MaskDINODecoder(BaseModule):
    """Layers that refine queries and boxes, looking forward twice.

    Each layer attends among queries, then to the encoded levels around its
    reference box, and moves the box. The next layer starts from the detached
    box, while the box loss of a layer reaches the layer before.

    Args:
        num_layers (int): Decoder layers. Defaults to 9.
        embed_dims (int): Width. Defaults to 256.
        num_heads (int): Attention heads. Defaults to 8.
        num_levels (int): Feature levels. Defaults to 4.
        num_points (int): Sampled points per level and head. Defaults to 4.
        feedforward_channels (int): FFN width. Defaults to 2048.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 num_layers: int = 9,
                 embed_dims: int = 256,
                 num_heads: int = 8,
                 num_levels: int = 4,
                 num_points: int = 4,
                 feedforward_channels: int = 2048,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.embed_dims = embed_dims
        self.layers = ModuleList([
            DeformableDecoderLayer(
                self_attn_cfg=dict(
                    embed_dims=embed_dims, num_heads=num_heads, dropout=0.0),
                cross_attn_cfg=dict(
                    embed_dims=embed_dims,
                    num_heads=num_heads,
                    num_levels=num_levels,
                    num_points=num_points,
                    dropout=0.0),
                ffn_cfg=dict(
                    embed_dims=embed_dims,
                    feedforward_channels=feedforward_channels,
                    num_fcs=2,
                    ffn_drop=0.0,
                    act_cfg=dict(type=FFNReLU))) for _ in range(num_layers)
        ])
        self.ref_point_head = MLP(embed_dims * 2, embed_dims, embed_dims, 2)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self,
                query: Tensor,
                value: Tensor,
                boxes: Tensor,
                spatial_shapes: Tensor,
                level_start_index: Tensor,
                valid_ratios: Tensor,
                reg_branch: nn.Module,
                self_attn_mask: Optional[Tensor],
                last_only: bool = False) -> Tuple[List[Tensor], List[Tensor]]:
        """Refine queries and boxes layer by layer.

        Args:
            query (Tensor): Content queries, has shape (B, Q, C).
            value (Tensor): Encoded levels, has shape (B, num_values, C).
            boxes (Tensor): Anchors, normalised (cx, cy, w, h), has shape
                (B, Q, 4).
            spatial_shapes (Tensor): (h, w) of each level, has shape
                (levels, 2).
            level_start_index (Tensor): Has shape (levels, ).
            valid_ratios (Tensor): Has shape (B, levels, 2).
            reg_branch (nn.Module): Box branch shared by all layers.
            self_attn_mask (Tensor, optional): Bool, True blocks, has shape
                (Q, Q).
            last_only (bool): Whether to return the last layer alone and
                leave out what only the others' predictions need. Defaults to
                False.

        Returns:
            tuple[list[Tensor]]: For each layer the normalised states
            (B, Q, C) and the boxes predicted from them (B, Q, 4).
        """
        ratios = valid_ratios.repeat(1, 1, 2)[:, None]
        states, layer_boxes = [], []
        reference = boxes  # detached, moves the anchor
        undetached = boxes  # looks forward twice
        for i, layer in enumerate(self.layers, start=1):
            is_last = i == len(self.layers)
            reference_input = reference[:, :, None] * ratios
            query_pos = self.ref_point_head(
                coordinate_to_encoding(
                    reference_input[:, :, 0], num_feats=self.embed_dims // 2))
            query = layer(
                query,
                query_pos=query_pos,
                value=value,
                self_attn_mask=self_attn_mask,
                spatial_shapes=spatial_shapes,
                level_start_index=level_start_index,
                valid_ratios=valid_ratios,
                reference_points=reference_input)
            # NOTE: the output box reads the normalised state, the anchor of
            # the next layer the raw one, as in the official decoder.
            if is_last or not last_only:
                states.append(self.norm(query))
                layer_boxes.append(
                    _move_boxes(undetached, reg_branch(states[-1])))
            if not is_last:
                undetached = _move_boxes(reference, reg_branch(query))
                reference = undetached.detach()
        return states, layer_boxes


def _move_boxes(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move normalised boxes (B, Q, 4) by deltas in logit space."""
    return (deltas + inverse_sigmoid(boxes, eps=LOGIT_EPS)).sigmoid()
