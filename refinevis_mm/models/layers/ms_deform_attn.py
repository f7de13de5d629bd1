# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention and the backends that compute it."""
import os
from importlib.util import find_spec
from typing import Callable, Dict, Optional

import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import \
    MultiScaleDeformableAttention as _MMCVMultiScaleDeformableAttention
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction, multi_scale_deformable_attn_pytorch)
from torch import Tensor

from refinevis_mm.compat.mmcv_lite import has_compiled_ops

# Environment variable that overrides the choice of the backend.
BACKEND_ENV = 'REFINEVIS_MSDA_BACKEND'
HAS_TORCH_MS_DEFORM_ATTN = find_spec('torch_ms_deform_attn') is not None
# Images that mmcv's CUDA op works on at a time.
IM2COL_STEP = 64


def _mmcv_cuda(value: Tensor, spatial_shapes: Tensor,
               level_start_index: Tensor, sampling_locations: Tensor,
               attention_weights: Tensor) -> Tensor:
    """mmcv's compiled CUDA op."""
    return MultiScaleDeformableAttnFunction.apply(value, spatial_shapes,
                                                  level_start_index,
                                                  sampling_locations,
                                                  attention_weights,
                                                  IM2COL_STEP)


def _mmcv_pytorch(value: Tensor, spatial_shapes: Tensor,
                  level_start_index: Tensor, sampling_locations: Tensor,
                  attention_weights: Tensor) -> Tensor:
    """mmcv's grid_sample loop."""
    return multi_scale_deformable_attn_pytorch(value, spatial_shapes,
                                               sampling_locations,
                                               attention_weights)


def _torch_ms_deform_attn(value: Tensor, spatial_shapes: Tensor,
                          level_start_index: Tensor,
                          sampling_locations: Tensor,
                          attention_weights: Tensor) -> Tensor:
    """The optional C++ package torch-ms-deform-attn."""
    from torch_ms_deform_attn import ms_deform_attn
    return ms_deform_attn(value.contiguous(), spatial_shapes,
                          level_start_index, sampling_locations.contiguous(),
                          attention_weights.contiguous())


def _embedding_bag(value: Tensor, spatial_shapes: Tensor,
                   level_start_index: Tensor, sampling_locations: Tensor,
                   attention_weights: Tensor) -> Tensor:
    """One weighted gather over the flattened values.

    The output of a query and head is a sum over levels, points and the four
    neighbours of each point of ``attention * bilinear weight * value``: an
    ``embedding_bag`` whose table is the value tensor.
    """
    bs, num_values, num_heads, dims = value.shape
    num_queries = sampling_locations.shape[1]
    height = spatial_shapes[:, 0].view(-1, 1)
    width = spatial_shapes[:, 1].view(-1, 1)
    # (bs, Q, heads, levels, points), in pixels, centre of a cell at integer
    x = sampling_locations[..., 0] * width - 0.5
    y = sampling_locations[..., 1] * height - 0.5
    x0, y0 = x.floor(), y.floor()
    right, below = x - x0, y - y0
    x0, y0 = x0.long(), y0.long()
    row = torch.arange(bs, device=value.device).view(-1, 1, 1, 1, 1)
    head = torch.arange(num_heads, device=value.device).view(1, 1, -1, 1, 1)
    start = row * num_values + level_start_index.view(-1, 1)
    inds, weights = [], []
    for x_i, x_w in ((x0, 1 - right), (x0 + 1, right)):
        x_in = (x_i >= 0) & (x_i < width)
        x_c = torch.minimum(x_i.clamp(min=0), width - 1)
        for y_i, y_w in ((y0, 1 - below), (y0 + 1, below)):
            inside = x_in & (y_i >= 0) & (y_i < height)
            y_c = torch.minimum(y_i.clamp(min=0), height - 1)
            inds.append((start + y_c * width + x_c) * num_heads + head)
            weights.append(x_w * y_w * attention_weights * inside)
    num_bags = bs * num_queries * num_heads
    out = F.embedding_bag(
        torch.stack(inds, -1).view(num_bags, -1),
        value.reshape(-1, dims),
        per_sample_weights=torch.stack(weights, -1).view(num_bags, -1),
        mode='sum')
    return out.view(bs, num_queries, num_heads * dims)


BACKENDS: Dict[str, Callable] = {
    'mmcv_cuda': _mmcv_cuda,
    'torch_ms_deform_attn': _torch_ms_deform_attn,
    'embedding_bag': _embedding_bag,
    'mmcv_pytorch': _mmcv_pytorch,
}


def select_backend(device: torch.device, needs_grad: bool) -> str:
    """Name the backend that computes deformable attention.

    A GPU takes mmcv's CUDA op where mmcv is compiled. Otherwise
    ``torch_ms_deform_attn`` is taken where that package is installed, else
    ``embedding_bag`` for inference and mmcv's PyTorch loop for training,
    whose backward pass is faster. The environment variable
    ``REFINEVIS_MSDA_BACKEND`` overrides the choice.

    Args:
        device (torch.device): Device of the value tensor.
        needs_grad (bool): Whether gradients will be asked for.

    Returns:
        str: A key of ``BACKENDS``.

    Raises:
        ValueError: If the environment variable names no backend.
    """
    name = os.environ.get(BACKEND_ENV)
    if name:
        if name not in BACKENDS:
            raise ValueError(f'{BACKEND_ENV} must be one of '
                             f'{sorted(BACKENDS)}, got {name!r}')
        return name
    if torch.device(device).type == 'cuda' and has_compiled_ops():
        return 'mmcv_cuda'
    if HAS_TORCH_MS_DEFORM_ATTN:
        return 'torch_ms_deform_attn'
    return 'mmcv_pytorch' if needs_grad else 'embedding_bag'


class MultiScaleDeformableAttention(_MMCVMultiScaleDeformableAttention):
    """mmcv's module with a choice of backends and fp32 arithmetic.

    Parameters and state-dict keys are mmcv's. Inputs are batch first.
    """

    def forward(self,
                query: Tensor,
                key: Optional[Tensor] = None,
                value: Optional[Tensor] = None,
                identity: Optional[Tensor] = None,
                query_pos: Optional[Tensor] = None,
                key_padding_mask: Optional[Tensor] = None,
                reference_points: Optional[Tensor] = None,
                spatial_shapes: Optional[Tensor] = None,
                level_start_index: Optional[Tensor] = None,
                **kwargs) -> Tensor:
        """Attend to a few sampled points of every level.

        Args:
            query (Tensor): Queries, has shape (bs, Q, C).
            key (Tensor, optional): Unused, kept for the layer's call.
            value (Tensor, optional): Flattened multi-level features, has
                shape (bs, num_values, C). Defaults to ``query``.
            identity (Tensor, optional): Added to the output. Defaults to
                ``query``.
            query_pos (Tensor, optional): Added to the query before offsets
                and weights are predicted, has shape (bs, Q, C).
            key_padding_mask (Tensor, optional): Bool, True at padded values,
                has shape (bs, num_values).
            reference_points (Tensor): Normalised points (bs, Q, levels, 2)
                or boxes (bs, Q, levels, 4) as (cx, cy, w, h).
            spatial_shapes (Tensor): (h, w) of each level, has shape
                (levels, 2).
            level_start_index (Tensor): First value of each level, has shape
                (levels, ).

        Returns:
            Tensor: Attended queries plus identity, has shape (bs, Q, C).
        """
        value = query if value is None else value
        identity = query if identity is None else identity
        if query_pos is not None:
            query = query + query_pos
        bs, num_queries, _ = query.shape
        value = self.value_proj(value)
        if key_padding_mask is not None:
            value = value.masked_fill(key_padding_mask[..., None], 0.0)
        value = value.view(bs, -1, self.num_heads,
                           value.shape[-1] // self.num_heads)
        grid = (bs, num_queries, self.num_heads, self.num_levels,
                self.num_points)
        offsets = self.sampling_offsets(query).view(*grid, 2)
        weights = self.attention_weights(query).view(bs, num_queries,
                                                     self.num_heads,
                                                     -1).softmax(-1).view(grid)
        centres = reference_points[:, :, None, :, None, :2]
        if reference_points.shape[-1] == 2:
            unit = 1 / spatial_shapes.flip(-1)[:, None].to(offsets)
        else:
            unit = reference_points[:, :, None, :, None,
                                    2:] * (0.5 / self.num_points)
        locations = centres + offsets * unit
        needs_grad = torch.is_grad_enabled() and (value.requires_grad
                                                  or locations.requires_grad)
        backend = BACKENDS[select_backend(value.device, needs_grad)]
        output = backend(value.float(), spatial_shapes, level_start_index,
                         locations.float(), weights.float())
        output = self.output_proj(output.to(query.dtype))
        return self.dropout(output) + identity
