# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Encoder and decoder of Deformable DETR (https://arxiv.org/abs/2010.04159)."""
from typing import List, Optional, Sequence, Tuple, Type

import torch
from mmdet.models.layers import SinePositionalEncoding, inverse_sigmoid
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule, ModuleList, xavier_init
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from ..layers.ms_deform_attn import MultiScaleDeformableAttention
from ..layers.transformer_layers import (DeformableDecoderLayer,
                                         DeformableEncoder, FFNReLU,
                                         encode_levels, flatten_levels,
                                         flatten_masks)


@MODELS.register_module()
class DeformableDETREncoder(BaseModule):
    """Deformable self-attention over all feature levels.

    Args:
        num_layers (int): Layers. Defaults to 6.
        embed_dims (int): Width C. Defaults to 256.
        num_heads (int): Attention heads. Defaults to 8.
        num_levels (int): Feature levels. Defaults to 4.
        num_points (int): Sampled points per level and head. Defaults to 4.
        feedforward_channels (int): FFN width. Defaults to 1024.
        dropout (float): Dropout of attention and FFN. Defaults to 0.1.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 num_layers: int = 6,
                 embed_dims: int = 256,
                 num_heads: int = 8,
                 num_levels: int = 4,
                 num_points: int = 4,
                 feedforward_channels: int = 1024,
                 dropout: float = 0.1,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.positional_encoding = SinePositionalEncoding(
            num_feats=embed_dims // 2, normalize=True, offset=-0.5)
        self.level_embed = nn.Parameter(torch.zeros(num_levels, embed_dims))
        self.encoder = DeformableEncoder(
            num_layers=num_layers,
            layer_cfg=dict(
                self_attn_cfg=dict(
                    embed_dims=embed_dims,
                    num_heads=num_heads,
                    num_levels=num_levels,
                    num_points=num_points,
                    dropout=dropout,
                    batch_first=True),
                ffn_cfg=dict(
                    embed_dims=embed_dims,
                    feedforward_channels=feedforward_channels,
                    num_fcs=2,
                    ffn_drop=dropout,
                    act_cfg=dict(type=FFNReLU))))

    def init_weights(self) -> None:
        """Xavier, then the attention's own initialisation."""
        super().init_weights()
        _init_transformer(self)
        nn.init.normal_(self.level_embed)

    def forward(self,
                levels: Sequence[Tensor],
                masks: Optional[Sequence[Tensor]] = None) -> List[Tensor]:
        """Encode feature maps.

        Args:
            levels (Sequence[Tensor]): Maps, fine to coarse, each
                (B, C, h_l, w_l).
            masks (Sequence[Tensor], optional): Bool, True at padded cells,
                each (B, h_l, w_l). None if there are none.

        Returns:
            list[Tensor]: Encoded maps of the same shapes. Padded cells are
            encoded too, but no cell attends to them.
        """
        return encode_levels(self.encoder, levels, self.positional_encoding,
                             self.level_embed, masks)


class BaseDeformableDecoder(BaseModule):
    """Learned queries, their start points, and layers of one type.

    A subclass sets ``layer_type`` and has its own ``forward``.

    Args:
        num_queries (int): Queries Q. Defaults to 300.
        num_layers (int): Layers L. Defaults to 6.
        embed_dims (int): Width C. Defaults to 256.
        num_heads (int): Attention heads. Defaults to 8.
        num_levels (int): Feature levels. Defaults to 4.
        num_points (int): Sampled points per level and head. Defaults to 4.
        feedforward_channels (int): FFN width. Defaults to 1024.
        dropout (float): Dropout of attention and FFN. Defaults to 0.1.
        init_cfg (dict, optional): Initialisation config.
    """

    layer_type: Type[BaseModule]

    def __init__(self,
                 num_queries: int = 300,
                 num_layers: int = 6,
                 embed_dims: int = 256,
                 num_heads: int = 8,
                 num_levels: int = 4,
                 num_points: int = 4,
                 feedforward_channels: int = 1024,
                 dropout: float = 0.1,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.query_embedding = nn.Embedding(num_queries, embed_dims)
        self.query_pos_embedding = nn.Embedding(num_queries, embed_dims)
        self.reference_points = nn.Linear(embed_dims, 2)
        self.layers = ModuleList([
            self.layer_type(
                self_attn_cfg=dict(
                    embed_dims=embed_dims,
                    num_heads=num_heads,
                    dropout=dropout),
                cross_attn_cfg=dict(
                    embed_dims=embed_dims,
                    num_heads=num_heads,
                    num_levels=num_levels,
                    num_points=num_points,
                    dropout=dropout),
                ffn_cfg=dict(
                    embed_dims=embed_dims,
                    feedforward_channels=feedforward_channels,
                    num_fcs=2,
                    ffn_drop=dropout,
                    act_cfg=dict(type=FFNReLU))) for _ in range(num_layers)
        ])

    def init_weights(self) -> None:
        """Xavier, then the attention's own initialisation."""
        super().init_weights()
        _init_transformer(self.layers)
        xavier_init(self.reference_points, distribution='uniform')
        nn.init.normal_(self.query_embedding.weight)
        nn.init.normal_(self.query_pos_embedding.weight)


@MODELS.register_module()
class DeformableDETRDecoder(BaseDeformableDecoder):
    """Learned queries that find objects, with iterative box refinement.

    A query starts at a learned point. Every layer predicts a box relative to
    its reference; the detached box is the reference of the next layer.

    Args: See :class:`BaseDeformableDecoder`.
    """

    layer_type = DeformableDecoderLayer

    def forward(
        self,
        levels: Sequence[Tensor],
        reg_branches: Sequence[nn.Module],
        masks: Optional[Sequence[Tensor]] = None
    ) -> Tuple[List[Tensor], List[Tensor], List[Tensor]]:
        """Find objects in encoded maps.

        Args:
            levels (Sequence[Tensor]): Encoded maps, fine to coarse, each
                (B, C, h_l, w_l).
            reg_branches (Sequence[nn.Module]): Box branch of each layer.
            masks (Sequence[Tensor], optional): Bool, True at padded cells,
                each (B, h_l, w_l). None if there are none.

        Returns:
            tuple[list[Tensor]]: For each layer the states (B, Q, C), which
            end in a LayerNorm, the boxes predicted from them, (cx, cy, w, h)
            normalised by the picture without padding, (B, Q, 4), and the
            references of the layer: points (B, Q, 2), then detached boxes.
        """
        value, shapes, starts, ratios = flatten_levels(levels, masks)
        padding = flatten_masks(masks)
        ratios = ratios.repeat(1, 1, 2)[:, None]  # of points and of boxes
        size = (value.shape[0], -1, -1)
        query = self.query_embedding.weight.expand(size)
        query_pos = self.query_pos_embedding.weight.expand(size)
        reference = self.reference_points(query_pos).sigmoid()
        states, layer_boxes, references = [], [], []
        for layer, reg_branch in zip(self.layers, reg_branches):
            query = layer(
                query,
                query_pos=query_pos,
                value=value,
                key_padding_mask=padding,
                spatial_shapes=shapes,
                level_start_index=starts,
                reference_points=reference[:, :, None] *
                ratios[..., :reference.shape[-1]])
            boxes = refine_boxes(reg_branch(query), reference)
            states.append(query)
            layer_boxes.append(boxes)
            references.append(reference)
            reference = boxes.detach()
        return states, layer_boxes, references


def refine_boxes(deltas: Tensor, references: Tensor) -> Tensor:
    """Move references by deltas in logit space.

    Args:
        deltas (Tensor): Has shape (..., 4).
        references (Tensor): Normalised points (..., 2), which say nothing of
            the size, or boxes (cx, cy, w, h) (..., 4).

    Returns:
        Tensor: Boxes, normalised (cx, cy, w, h), has shape (..., 4).
    """
    known = references.shape[-1]
    moved = deltas[..., :known] + inverse_sigmoid(references)
    return torch.cat([moved, deltas[..., known:]], -1).sigmoid()


def _init_transformer(module: nn.Module) -> None:
    """Xavier for matrices, then the attention's own initialisation."""
    for param in module.parameters():
        if param.dim() > 1:
            nn.init.xavier_uniform_(param)
    for child in module.modules():
        if isinstance(child, MultiScaleDeformableAttention):
            child.init_weights()
