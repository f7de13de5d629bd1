# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Multi-scale deformable attention and the backends that compute it."""
import math
import os
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Callable, Dict, Iterator, Optional

import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import \
    MultiScaleDeformableAttention as _MMCVMultiScaleDeformableAttention
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction, multi_scale_deformable_attn_pytorch)
from torch import Tensor

from refinevis_mm.compat.mmcv_lite import has_compiled_ops
from .embedding_bag_attn import Shapes, embedding_bag_attention
from .gather_attn import gather_attention

# Environment variable that overrides the choice of the backend.
BACKEND_ENV = 'REFINEVIS_MSDA_BACKEND'
HAS_TORCH_MS_DEFORM_ATTN = find_spec('torch_ms_deform_attn') is not None
# Most images that mmcv's CUDA op works on at a time.
MAX_IM2COL_STEP = 64


def _mmcv_cuda(value: Tensor, spatial_shapes: Tensor,
               level_start_index: Tensor, sampling_locations: Tensor,
               attention_weights: Tensor) -> Tensor:
    """mmcv's compiled CUDA op."""
    # The op refuses a batch that the step does not divide.
    step = math.gcd(len(value), MAX_IM2COL_STEP)
    return MultiScaleDeformableAttnFunction.apply(value, spatial_shapes,
                                                  level_start_index,
                                                  sampling_locations,
                                                  attention_weights, step)


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
    """One weighted gather over the flattened values, in plain PyTorch."""
    points = _points_in_cells(sampling_locations, spatial_shapes)
    return embedding_bag_attention(value, points, attention_weights.flatten(3),
                                   _as_tuples(spatial_shapes))


def _gather(value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor,
            sampling_locations: Tensor, attention_weights: Tensor) -> Tensor:
    """Indexing and products, which runtimes of exported graphs have."""
    points = _points_in_cells(sampling_locations, spatial_shapes)
    return gather_attention(value, points, attention_weights.flatten(3),
                            _as_tuples(spatial_shapes))


BACKENDS: Dict[str, Callable] = {
    'mmcv_cuda': _mmcv_cuda,
    'torch_ms_deform_attn': _torch_ms_deform_attn,
    'embedding_bag': _embedding_bag,
    'gather': _gather,
    'mmcv_pytorch': _mmcv_pytorch,
}

# In threads of their own other models run on.
_CHOSEN: ContextVar[Optional[str]] = ContextVar('_CHOSEN', default=None)
# Backends that take points in cells instead of normalised locations.
CELL_BACKENDS: Dict[str, Callable] = {
    'embedding_bag': embedding_bag_attention,
    'gather': gather_attention,
}


@contextmanager
def use_attention_backend(name: str) -> Iterator[None]:
    """Compute deformable attention by one backend, whatever else says.

    Args:
        name (str): A key of ``BACKENDS``.

    Yields:
        None: While it is used, by this thread.
    """
    token = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def select_backend(device: torch.device) -> str:
    """Name the backend that computes deformable attention.

    A GPU takes mmcv's CUDA op where mmcv is compiled, else mmcv's PyTorch
    loop. A CPU takes ``torch_ms_deform_attn`` where that package is
    installed, else ``embedding_bag``. The environment variable
    ``REFINEVIS_MSDA_BACKEND`` overrides the choice, and
    :func:`use_attention_backend` that.

    Args:
        device (torch.device): Device of the value tensor.

    Returns:
        str: A key of ``BACKENDS``.

    Raises:
        ValueError: If the environment variable names no backend.
    """
    chosen = _CHOSEN.get()
    if chosen is not None:
        return chosen
    name = os.environ.get(BACKEND_ENV)
    if name:
        if name not in BACKENDS:
            raise ValueError(f'{BACKEND_ENV} must be one of '
                             f'{sorted(BACKENDS)}, got {name!r}')
        return name
    if torch.device(device).type == 'cuda':
        return 'mmcv_cuda' if has_compiled_ops() else 'mmcv_pytorch'
    if HAS_TORCH_MS_DEFORM_ATTN:
        return 'torch_ms_deform_attn'
    return 'embedding_bag'


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
        output = self.sample(query, value, key_padding_mask, reference_points,
                             spatial_shapes, level_start_index)
        return self.dropout(self.output_proj(output)) + identity

    def sample(self, query: Tensor, value: Tensor,
               key_padding_mask: Optional[Tensor], reference_points: Tensor,
               spatial_shapes: Tensor, level_start_index: Tensor) -> Tensor:
        """What the queries read, before the output projection.

        Args:
            query (Tensor): Queries with their positions, has shape
                (bs, Q, C).
            value (Tensor): See :meth:`forward`, and so for what follows.
            key_padding_mask (Tensor, optional): Padded values.
            reference_points (Tensor): Points or boxes.
            spatial_shapes (Tensor): (h, w) of each level.
            level_start_index (Tensor): First value of each level.

        Returns:
            Tensor: Has shape (bs, Q, C).
        """
        value = self.value_proj(value)
        if key_padding_mask is not None:
            value = value.masked_fill(key_padding_mask[..., None], 0.0)
        value = value.unflatten(-1, (self.num_heads, -1)).float()
        weights = self._predict_weights(query)
        backend = select_backend(value.device)
        if backend in CELL_BACKENDS:
            shapes = _as_tuples(spatial_shapes)
            points = self._predict_points(query, reference_points, shapes)
            output = CELL_BACKENDS[backend](value, points, weights, shapes)
        else:
            locations = self._predict_locations(query, reference_points,
                                                spatial_shapes)
            output = BACKENDS[backend](value, spatial_shapes,
                                       level_start_index, locations,
                                       weights.view(locations.shape[:-1]))
        return output.to(query.dtype)

    def _predict_weights(self, query: Tensor) -> Tensor:
        """Attention of every point, fp32, (bs, Q, heads, levels * points)."""
        logits = self.attention_weights(query).float()
        return _softmax_of_few(logits.unflatten(-1, (self.num_heads, -1)))

    def _predict_locations(self, query: Tensor, reference_points: Tensor,
                           spatial_shapes: Tensor) -> Tensor:
        """Normalised (x, y) of every point, fp32.

        Returns:
            Tensor: Has shape (bs, Q, heads, levels, points, 2).
        """
        offsets = self.sampling_offsets(query).float().unflatten(
            -1, (self.num_heads, self.num_levels, self.num_points, 2))
        references = reference_points.float()[:, :, None, :, None]
        if references.shape[-1] == 2:
            unit = 1 / spatial_shapes.flip(-1)[:, None].to(offsets)
        else:
            unit = references[..., 2:] * (0.5 / self.num_points)
        return references[..., :2] + offsets * unit

    def _predict_points(self, query: Tensor, reference_points: Tensor,
                        shapes: Shapes) -> Tensor:
        """x and y of every point in cells of its level, fp32.

        The same as :meth:`_predict_locations` in the units and the order of
        :func:`embedding_bag_attention`. Weights are reordered instead of
        what they predict: they are fewer.

        Returns:
            Tensor: Has shape (bs, Q, 2, heads, levels * points).
        """
        weight, bias = [
            param.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)
            for param in (self.sampling_offsets.weight,
                          self.sampling_offsets.bias)
        ]
        offsets = F.linear(query, weight,
                           bias).float().unflatten(-1, (2, self.num_heads, -1))
        sizes = offsets.new_tensor(shapes).flip(-1)
        references = reference_points.float()
        centres = self._per_column(references[..., :2] * sizes - 0.5)
        if references.shape[-1] == 2:
            return offsets + centres
        units = self._per_column(references[..., 2:] * sizes *
                                 (0.5 / self.num_points))
        return torch.addcmul(centres, offsets, units)

    def _per_column(self, per_level: Tensor) -> Tensor:
        """Repeat (bs, Q, levels, 2) to (bs, Q, 2, 1, levels * points)."""
        columns = per_level.transpose(-1, -2)[:, :, :, None, :, None]
        return columns.expand(-1, -1, -1, -1, -1, self.num_points).flatten(4)


def _points_in_cells(locations: Tensor, spatial_shapes: Tensor) -> Tensor:
    """Points (bs, Q, 2, heads, levels * points) of normalised locations."""
    sizes = spatial_shapes.flip(-1)[:, None]
    return (locations * sizes - 0.5).flatten(3, 4).movedim(-1, 2)


def _as_tuples(spatial_shapes: Tensor) -> Shapes:
    """Level shapes (levels, 2) as a hashable constant."""
    return tuple((height, width) for height, width in spatial_shapes.tolist())


def _softmax_of_few(logits: Tensor) -> Tensor:
    """Softmax over a short last dimension.

    Written out, it is six times faster on a CPU than the operator, which
    does not vectorise rows shorter than a few vectors.
    """
    if logits.is_cuda:
        return logits.softmax(-1)
    exp = (logits - logits.detach().amax(-1, keepdim=True)).exp()
    return exp / exp.sum(-1, keepdim=True)
