# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .giou import GIoUCost, GIoULoss, giou
from .mask_point_loss import MaskPointLoss
from .mask_resize import resize_masks
from .ms_deform_attn import (MultiScaleDeformableAttention, select_backend,
                             use_attention_backend)
from .temporal_attention import TemporalAttentionLayer, frame_position_encoding
from .transformer_layers import DeformableEncoder, flatten_levels

__all__ = [
    'DeformableEncoder', 'GIoUCost', 'GIoULoss', 'MaskPointLoss',
    'MultiScaleDeformableAttention', 'TemporalAttentionLayer',
    'flatten_levels', 'frame_position_encoding', 'giou', 'resize_masks',
    'select_backend', 'use_attention_backend'
]
