# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The pixel decoder of Mask2Former on our deformable attention."""
from typing import List, Sequence, Tuple

import torch.nn.functional as F
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmengine.model import BaseModule
from torch import Tensor

from ..layers.transformer_layers import DeformableEncoder, encode_levels


class Mask2FormerPixelDecoder(BaseModule):
    """Computes what mmdet's :class:`MSDeformAttnPixelDecoder` does.

    Its encoder is ours: attention has a choice of backends there, and sizes
    are numbers, as the export of a graph asks.

    Args:
        source (:obj:`MSDeformAttnPixelDecoder`): Its parts are shared, but
            for the encoder, whose weights are copied.
    """

    def __init__(self, source: MSDeformAttnPixelDecoder) -> None:
        super().__init__()
        self.source = source
        encoder = source.encoder
        self.encoder = DeformableEncoder(
            num_layers=len(encoder.layers), layer_cfg=encoder.layer_cfg)
        self.encoder.load_state_dict(encoder.state_dict())
        self.encoder.to(source.mask_feature.weight).train(source.training)

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """See mmdet's :class:`MSDeformAttnPixelDecoder`.

        Args:
            feats (Sequence[Tensor]): Maps of the backbone, fine to coarse,
                each (B, C_i, h_i, w_i).

        Returns:
            tuple: Mask features (B, C_mask, h, w), and encoded maps, coarse
            to fine, each (B, C, h_l, w_l).
        """
        source = self.source
        levels = [
            conv(feat)
            for conv, feat in zip(source.input_convs, reversed(feats))
        ]
        maps = encode_levels(self.encoder, levels, source.postional_encoding,
                             source.level_encoding.weight)
        for i in reversed(range(len(feats) - len(levels))):
            lateral = source.lateral_convs[i](feats[i])
            fused = lateral + F.interpolate(
                maps[-1], size=lateral.shape[-2:], mode='bilinear')
            maps.append(source.output_convs[i](fused))
        return source.mask_feature(maps[-1]), maps[:source.num_outs]
