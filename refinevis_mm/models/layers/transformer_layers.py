# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""mmdet's deformable transformer layers on our deformable attention."""
from functools import lru_cache
from typing import List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmdet.models.layers import SinePositionalEncoding
from mmdet.models.layers.transformer import (
    DeformableDetrTransformerDecoderLayer, DeformableDetrTransformerEncoder,
    DeformableDetrTransformerEncoderLayer)
from mmengine.model import ModuleList
from torch import Tensor, nn

from .embedding_bag_attn import MAX_CACHED_SIZES, Shapes
from .ms_deform_attn import MultiScaleDeformableAttention


class FFNReLU(nn.ReLU):
    """ReLU between the layers of an FFN, in place without gradients.

    A Linear returns a view for (bs, N, C). If a view is changed in place,
    autograd copies its gradients, which costs more than an output of its own.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply it, to any shape."""
        return F.relu(hidden, inplace=not hidden.requires_grad)


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

    @staticmethod
    def get_encoder_reference_points(spatial_shapes: Tensor,
                                     valid_ratios: Tensor,
                                     device: torch.device) -> Tensor:
        """See mmdet's method; here the sizes are numbers, as an export asks.

        Args:
            spatial_shapes (Tensor): (h, w) of each level, (levels, 2).
            valid_ratios (Tensor): Has shape (B, levels, 2).
            device (torch.device): Where the points lie.

        Returns:
            Tensor: Has shape (B, num_values, levels, 2).
        """
        points = []
        for level, (height, width) in enumerate(spatial_shapes.tolist()):
            y, x = torch.meshgrid(
                torch.linspace(0.5, height - 0.5, height, device=device),
                torch.linspace(0.5, width - 0.5, width, device=device),
                indexing='ij')
            sizes = valid_ratios[:, None, level] * valid_ratios.new_tensor(
                [width, height])
            points.append(torch.stack([x, y], -1).flatten(0, 1) / sizes)
        return torch.cat(points, 1)[:, :, None] * valid_ratios[:, None]


def flatten_levels(
    feats: Sequence[Tensor],
    masks: Optional[Sequence[Tensor]] = None
) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Concatenate feature maps the way deformable attention reads them.

    Args:
        feats (Sequence[Tensor]): Feature maps, each (B, C, h_l, w_l).
        masks (Sequence[Tensor], optional): Bool, True at padded cells, each
            (B, h_l, w_l). None lets padding count as picture, as in
            MaskDINO.

    Returns:
        tuple[Tensor]: Values (B, sum(h_l * w_l), C), spatial shapes (levels,
        2) as (h, w), start index of each level (levels, ) and valid ratios
        (B, levels, 2), the shares (w, h) of a level's cells that are
        picture.
    """
    value = torch.cat([feat.flatten(2).transpose(1, 2) for feat in feats], 1)
    shapes = shapes_tensor(
        tuple(tuple(map(int, feat.shape[-2:])) for feat in feats),
        value.device)
    sizes = shapes.prod(1)
    starts = sizes.cumsum(0) - sizes
    if masks is None:
        ratios = value.new_ones(value.shape[0], len(feats), 2)
    else:
        ratios = torch.stack([valid_ratio(mask) for mask in masks], 1)
    return value, shapes, starts, ratios


@lru_cache(maxsize=MAX_CACHED_SIZES)
def shapes_tensor(shapes: Shapes, device: torch.device) -> Tensor:
    """Shapes of levels as a tensor, made once per size.

    Where a network is exported it is a constant then, whose numbers can be
    read.

    Args:
        shapes (tuple[tuple[int]]): (h, w) of each level.
        device (torch.device): Where the tensor lies.

    Returns:
        Tensor: Has shape (levels, 2); nobody may write to it.
    """
    with torch.inference_mode(False):
        return torch.tensor(shapes, dtype=torch.long, device=device)


def valid_ratio(mask: Tensor) -> Tensor:
    """Shares of the columns and rows of a map that are picture.

    Args:
        mask (Tensor): Bool, True at padded cells, right and below, has shape
            (B, h, w).

    Returns:
        Tensor: (w, h) in (0, 1], float32, has shape (B, 2).
    """
    rows, columns = ~mask[:, :, 0], ~mask[:, 0]
    return torch.stack([columns.float().mean(1), rows.float().mean(1)], -1)


def flatten_masks(masks: Optional[Sequence[Tensor]]) -> Optional[Tensor]:
    """Padded cells (B, h_l, w_l) of all levels as (B, sum(h_l * w_l))."""
    if masks is None:
        return None
    return torch.cat([mask.flatten(1) for mask in masks], 1)


def encode_levels(encoder: DeformableEncoder,
                  levels: Sequence[Tensor],
                  positional_encoding: SinePositionalEncoding,
                  level_embed: Tensor,
                  masks: Optional[Sequence[Tensor]] = None) -> List[Tensor]:
    """Run an encoder over feature maps and give maps back.

    Args:
        encoder (:obj:`DeformableEncoder`): The encoder.
        levels (Sequence[Tensor]): Feature maps, each (B, C, h_l, w_l).
        positional_encoding (:obj:`SinePositionalEncoding`): Of C / 2 features
            per axis.
        level_embed (Tensor): Has shape (levels, C).
        masks (Sequence[Tensor], optional): Bool, True at padded cells, each
            (B, h_l, w_l): nothing attends to them, and positions count from
            the picture's size. Defaults to None.

    Returns:
        list[Tensor]: Encoded maps of the same shapes, padded cells too.
    """
    query, shapes, starts, ratios = flatten_levels(levels, masks)
    if masks is None:
        positions = [
            level_positions(positional_encoding, level) for level in levels
        ]
    else:
        positions = [
            positional_encoding(mask).flatten(2).transpose(1, 2)
            for mask in masks
        ]
    pos = torch.cat([
        level_pos + embed for level_pos, embed in zip(positions, level_embed)
    ], 1)
    encoded = encoder(
        query=query,
        query_pos=pos,
        key_padding_mask=flatten_masks(masks),
        spatial_shapes=shapes,
        level_start_index=starts,
        valid_ratios=ratios)
    sizes = [level[0, 0].numel() for level in levels]
    return [
        memory.transpose(1, 2).reshape_as(level)
        for memory, level in zip(encoded.split(sizes, 1), levels)
    ]


def level_positions(positional_encoding: SinePositionalEncoding,
                    level: Tensor) -> Tensor:
    """Sine encoding of the cells of a map without padding.

    Args:
        positional_encoding (:obj:`SinePositionalEncoding`): Of C / 2 features
            per axis.
        level (Tensor): Gives size and device, has shape (..., h_l, w_l).

    Returns:
        Tensor: Has shape (1, h_l * w_l, C).
    """
    height, width = level.shape[-2:]
    # Half of the channels depend on the row alone, half on the column.
    rows = positional_encoding(
        level.new_zeros((1, height, 1), dtype=torch.bool))
    columns = positional_encoding(
        level.new_zeros((1, 1, width), dtype=torch.bool))
    num_feats = positional_encoding.num_feats
    pos = torch.cat([
        rows[:, :num_feats].expand(-1, -1, -1, width),
        columns[:, num_feats:].expand(-1, -1, height, -1)
    ], 1)
    return pos.flatten(2).transpose(1, 2)
