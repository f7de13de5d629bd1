# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pixel decoder of MaskDINO (https://arxiv.org/abs/2206.02777)."""
from typing import List, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.layers import SinePositionalEncoding
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from ..layers.ms_deform_attn import MultiScaleDeformableAttention
from ..layers.transformer_layers import (DeformableEncoder, FFNReLU,
                                         encode_levels)


@MODELS.register_module()
class MaskDINOPixelDecoder(BaseModule):
    """Deformable encoder over several levels plus one FPN step for masks.

    Levels are ordered fine to coarse. Padded pixels are ordinary pixels and
    valid ratios are 1, as in the official code.

    Args:
        in_channels (Sequence[int]): Channels of the backbone's maps, fine to
            coarse; the first has stride 4.
        encoder_in_indices (Sequence[int]): Backbone maps that enter the
            encoder. Defaults to (1, 2, 3).
        num_extra_levels (int): Levels made by stride-2 convolutions of the
            coarsest backbone map. Defaults to 1.
        embed_dims (int): Width of the encoder. Defaults to 256.
        mask_dims (int): Width of the mask features. Defaults to 256.
        num_layers (int): Encoder layers. Defaults to 6.
        num_heads (int): Attention heads. Defaults to 8.
        num_points (int): Sampled points per level and head. Defaults to 4.
        feedforward_channels (int): FFN width. Defaults to 1024.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 in_channels: Sequence[int],
                 encoder_in_indices: Sequence[int] = (1, 2, 3),
                 num_extra_levels: int = 1,
                 embed_dims: int = 256,
                 mask_dims: int = 256,
                 num_layers: int = 6,
                 num_heads: int = 8,
                 num_points: int = 4,
                 feedforward_channels: int = 1024,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.encoder_in_indices = tuple(encoder_in_indices)
        self.num_levels = len(self.encoder_in_indices) + num_extra_levels
        norm_cfg = dict(type='GN', num_groups=32)
        self.input_convs = ModuleList([
            ConvModule(
                in_channels[i],
                embed_dims,
                1,
                bias=True,
                norm_cfg=norm_cfg,
                act_cfg=None) for i in self.encoder_in_indices
        ])
        extra_in = in_channels[self.encoder_in_indices[-1]]
        for _ in range(num_extra_levels):
            self.input_convs.append(
                ConvModule(
                    extra_in,
                    embed_dims,
                    3,
                    stride=2,
                    padding=1,
                    bias=True,
                    norm_cfg=norm_cfg,
                    act_cfg=None))
            extra_in = embed_dims
        self.level_embed = nn.Parameter(
            torch.zeros(self.num_levels, embed_dims))
        self.positional_encoding = SinePositionalEncoding(
            num_feats=embed_dims // 2, normalize=True)
        self.encoder = DeformableEncoder(
            num_layers=num_layers,
            layer_cfg=dict(
                self_attn_cfg=dict(
                    embed_dims=embed_dims,
                    num_heads=num_heads,
                    num_levels=self.num_levels,
                    num_points=num_points,
                    dropout=0.0,
                    batch_first=True),
                ffn_cfg=dict(
                    embed_dims=embed_dims,
                    feedforward_channels=feedforward_channels,
                    num_fcs=2,
                    ffn_drop=0.0,
                    act_cfg=dict(type=FFNReLU))))
        self.lateral_conv = ConvModule(
            in_channels[0],
            embed_dims,
            1,
            bias=False,
            norm_cfg=norm_cfg,
            act_cfg=None)
        self.output_conv = ConvModule(
            embed_dims,
            embed_dims,
            3,
            padding=1,
            bias=False,
            norm_cfg=norm_cfg,
            act_cfg=dict(type='ReLU'))
        self.mask_feature = nn.Conv2d(embed_dims, mask_dims, 1)

    def init_weights(self) -> None:
        """Xavier everywhere, then the attention's own initialisation."""
        super().init_weights()
        for param in self.parameters():
            if param.dim() > 1:
                nn.init.xavier_uniform_(param)
        for conv in self.input_convs:
            nn.init.zeros_(conv.conv.bias)
        nn.init.normal_(self.level_embed)
        for module in self.encoder.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.init_weights()

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """Encode the backbone's maps.

        Args:
            feats (Sequence[Tensor]): Backbone maps, fine to coarse, each
                (B, in_channels[i], h_i, w_i).

        Returns:
            tuple: Mask features (B, mask_dims, h, w) at the stride of
            ``feats[0]`` and the encoded maps, fine to coarse, each
            (B, C, h_l, w_l).
        """
        inputs = self._project_inputs(feats)
        levels = encode_levels(self.encoder, inputs, self.positional_encoding,
                               self.level_embed)
        fused = self.lateral_conv(feats[0])
        # Tokens lie channels last, but only a clone has strides that say so
        # for one image; without them interpolation changes the layout.
        finest = levels[0].clone(memory_format=torch.channels_last)
        fused = fused + F.interpolate(
            finest, size=fused.shape[-2:], mode='bilinear')
        return self.mask_feature(self.output_conv(fused)), levels

    def _project_inputs(self, feats: Sequence[Tensor]) -> List[Tensor]:
        """Bring every level to the encoder's width, add extra levels."""
        num_direct = len(self.encoder_in_indices)
        inputs = [
            conv(feats[i])
            for conv, i in zip(self.input_convs, self.encoder_in_indices)
        ]
        # NOTE: the first extra level starts from the raw backbone map.
        extra = feats[self.encoder_in_indices[-1]]
        for conv in self.input_convs[num_direct:]:
            extra = conv(extra)
            inputs.append(extra)
        return inputs
