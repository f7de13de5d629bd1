# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .mask_point_loss import MaskPointLoss
from .ms_deform_attn import MultiScaleDeformableAttention, select_backend
from .temporal_attention import TemporalAttentionLayer, frame_position_encoding
from .transformer_layers import DeformableEncoder, flatten_levels

__all__ = [
    'DeformableEncoder', 'MaskPointLoss', 'MultiScaleDeformableAttention',
    'TemporalAttentionLayer', 'flatten_levels', 'frame_position_encoding',
    'select_backend'
]
