# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Deformable attention as a weighted gather, in plain PyTorch.

The output of a query and head is a sum over sampled points and the four
neighbours of each point of ``attention * bilinear weight * value``: one
``embedding_bag`` whose table is the value tensor. No compiler is needed.

Shape legend: N values, J = heads * levels * points columns of a query; Q
queries, those of all images where there is no bs beside it.
"""
from functools import lru_cache
from typing import NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

# Corners of a cell as (right, down), the order of a bag's contents.
CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))
# Points gathered at a time: their temporaries stay in the cache and in memory
# that the allocator has at hand.
CHUNK_POINTS = 2**17
# Points, and numbers in the values, of the images that share a backward pass:
# small images cost more calls than arithmetic, large ones get slower together.
BACKWARD_SIZE = 2**18
# Sizes whose constants are remembered.
MAX_CACHED_SIZES = 32

Shapes = Tuple[Tuple[int, int], ...]


class _Grid(NamedTuple):
    """Constants of the columns of a query.

    Attributes:
        last (Tensor): Greatest first neighbour in x and y, w - 2 and h - 2,
            at least 0, has shape (2, J).
        single (Tensor, optional): 1 where the level is one cell wide or
            high, else 0, has shape (2, J); None if no level is.
        width (Tensor): Width of the level in cells, has shape (J, ).
        rows (Tensor): int32 table row of the four corners of the level's
            first cell, has shape (4, J).
    """

    last: Tensor
    single: Optional[Tensor]
    width: Tensor
    rows: Tensor


@lru_cache(maxsize=MAX_CACHED_SIZES)
def make_grid(shapes: Shapes, num_heads: int, num_points: int,
              dtype: torch.dtype, device: torch.device) -> _Grid:
    """Constants that depend on the sizes only, made once per size."""
    # Normal tensors also when first asked for in inference mode.
    with torch.inference_mode(False):
        height, width = torch.tensor(shapes, device=device).unbind(1)
        start = (height * width).cumsum(0) - height * width

        def columns(levels: Tensor) -> Tensor:
            return torch.cat([levels.repeat_interleave(num_points, -1)] *
                             num_heads, -1)

        sizes = torch.stack([width, height])
        steps = torch.stack([torch.ones_like(width), width]) * (sizes > 1)
        step_right, step_down = columns(steps)
        head = torch.arange(num_heads, device=device)
        head = head.repeat_interleave(len(shapes) * num_points)
        rows = [(columns(start) + right * step_right + down * step_down) *
                num_heads + head for right, down in CORNERS]
        single = columns(sizes == 1)
        return _Grid(
            last=columns((sizes - 2).clamp(min=0)).to(dtype),
            single=single.to(dtype) if single.any() else None,
            width=columns(width).to(dtype),
            rows=torch.stack(rows).int())


class _Neighbours(NamedTuple):
    """The two nearest cells of points (Q, 2, J) along both axes.

    A bilinear weight is 1 - distance, with the distance clamped at 1: it is
    0 by itself where a point lies outside, so that no masks are needed.

    Attributes:
        first (Tensor): The first of the cells, clamped so that both lie in
            the level, has shape (Q, 2, J).
        offset (Tensor): Point minus ``first``, has shape (Q, 2, J).
        near (Tensor): Distance to the first, in [0, 1], (Q, 2, J).
        far (Tensor): Distance to the one after it, in [0, 1], (Q, 2, J).
    """

    first: Tensor
    offset: Tensor
    near: Tensor
    far: Tensor


def find_neighbours(points: Tensor, grid: _Grid) -> _Neighbours:
    """Nearest cells of points (..., 2, J) in cells of their level."""
    first = points.floor().clamp_(torch.zeros_like(grid.last), grid.last)
    offset = points - first
    near = offset.abs().clamp_(max=1)
    far = (offset - 1).abs_().clamp_(max=1)
    if grid.single is not None:
        far = torch.maximum(far, grid.single)  # there is no second cell
    return _Neighbours(first, offset, near, far)


def find_cells(cells: _Neighbours, grid: _Grid) -> Tensor:
    """int32 position of the first neighbour in its level, (..., J)."""
    x, y = cells.first.unbind(-2)
    # NaN becomes any cell: its weight is NaN and so is the output.
    return torch.addcmul(x, y, grid.width).int().clamp_(min=0)


def _bag_rows(cells: Tensor, grid: _Grid, num_heads: int) -> Tensor:
    """int32 table rows of every bag, has shape (Q * heads, 4 * J / heads)."""
    cells = cells.unflatten(1, (num_heads, -1))
    rows = cells.new_empty(*cells.shape[:2], len(CORNERS), cells.shape[2])
    for i, corner in enumerate(grid.rows):
        torch.add(
            corner.view(num_heads, -1),
            cells,
            alpha=num_heads,
            out=rows[:, :, i])
    return rows.flatten(2).flatten(0, 1)


def _times_weight(values: Tensor, distance: Tensor, **kwargs) -> Tensor:
    """``values * (1 - distance)`` in one pass."""
    return torch.addcmul(values, values, distance, value=-1, **kwargs)


def _bag_weights(cells: _Neighbours, weights: Tensor,
                 num_heads: int) -> Tensor:
    """Weights of every bag, has shape (Q * heads, 4 * J / heads)."""
    columns, rows = [], []
    for distance in (cells.near, cells.far):
        column = _times_weight(weights, distance[:, 0])
        columns.append(column.unflatten(1, (num_heads, -1)))
        rows.append(distance[:, 1].unflatten(1, (num_heads, -1)))
    bags = weights.new_empty(*columns[0].shape[:2], len(CORNERS),
                             columns[0].shape[2])
    for i, (right, down) in enumerate(CORNERS):
        _times_weight(columns[right], rows[down], out=bags[:, :, i])
    return bags.flatten(2).flatten(0, 1)


def _first_values(value: Tensor, num_queries: int) -> Tensor:
    """int32 position of the first value of each query's image, (bs * Q, 1).

    Args:
        value (Tensor): Has shape (bs, N, heads, dims).
        num_queries (int): Q.
    """
    num_images, num_values = value.shape[:2]
    first = torch.arange(
        0,
        num_images * num_values,
        num_values,
        dtype=torch.int32,
        device=value.device)
    return first.repeat_interleave(num_queries)[:, None]


def _gather(value: Tensor, points: Tensor, weights: Tensor,
            grid: _Grid) -> Tensor:
    """Output of all images, has shape (bs * Q * heads, dims).

    Args:
        value (Tensor): Has shape (bs, N, heads, dims).
        points (Tensor): Has shape (bs, Q, 2, J).
        weights (Tensor): Has shape (bs, Q, J).
        grid (:obj:`_Grid`): Constants.
    """
    num_heads = value.shape[2]
    first = _first_values(value, weights.shape[1])
    bags = []
    chunk = max(CHUNK_POINTS // weights.shape[2], 1)
    for points, weights, first in zip(
            points.flatten(0, 1).split(chunk),
            weights.flatten(0, 1).split(chunk), first.split(chunk)):
        cells = find_neighbours(points, grid)
        positions = find_cells(cells, grid).add_(first)
        bags.append(
            F.embedding_bag(
                _bag_rows(positions, grid, num_heads),
                value.flatten(0, 2),
                per_sample_weights=_bag_weights(cells, weights, num_heads),
                mode='sum'))
    return torch.cat(bags)


def _dots_with_values(grad: Tensor, table: Tensor, rows: Tensor,
                      num_heads: int) -> Tuple[Tensor, ...]:
    """Dot product of every gathered value with its bag's gradient.

    This is the gradient of ``embedding_bag`` with respect to its weights.

    Returns:
        tuple[Tensor]: One (Q, J) for each corner.
    """
    ones = grad.new_ones(rows.shape).requires_grad_()
    with torch.enable_grad():
        bags = F.embedding_bag(
            rows, table, per_sample_weights=ones, mode='sum')
    dots, = torch.autograd.grad(bags, ones, grad)
    dots = dots.view(-1, num_heads, len(CORNERS),
                     rows.shape[1] // len(CORNERS))
    return tuple(corner.flatten(1) for corner in dots.unbind(2))


def _slopes(cells: _Neighbours) -> Tuple[Tensor, Tensor]:
    """Derivatives of the near and far weights, each (Q, 2, J)."""
    # in cells: -1 before the first, 0 between the two, 1 after the second
    side = cells.offset.floor()
    before, between, after = [(side == i).to(side) for i in (-1, 0, 1)]
    return before.sub_(between), between - after


def _point_grads(cells: _Neighbours, weights: Tensor, dots: Tuple[Tensor, ...],
                 grid: _Grid) -> Tuple[Tensor, Tensor]:
    """Gradients of points (Q, 2, J) and weights (Q, J)."""
    near, far = _slopes(cells)
    if grid.single is not None:
        far = far * (1 - grid.single)
    near_x, near_y = (1 - cells.near).unbind(1)
    far_x, far_y = (1 - cells.far).unbind(1)
    upper = near_x * dots[0] + far_x * dots[1]
    lower = near_x * dots[2] + far_x * dots[3]
    left = near_y * dots[0] + far_y * dots[2]
    right = near_y * dots[1] + far_y * dots[3]
    x_grad = (near[:, 0] * left + far[:, 0] * right).mul_(weights)
    y_grad = (near[:, 1] * upper + far[:, 1] * lower).mul_(weights)
    return torch.stack([x_grad, y_grad], 1), near_y * upper + far_y * lower


def _scatter(grad: Tensor, positions: Tensor, cells: _Neighbours,
             weights: Tensor, grid: _Grid, shapes: Shapes,
             value_shape: Sequence[int]) -> Tensor:
    """Gradient of the values (bs, N, heads, dims) = ``value_shape``.

    Points are sorted by their first neighbour, so that the sum over the
    points of a table row is an ``embedding_bag`` over the gradient. All four
    corners share the order and differ by a shift of the result.
    """
    num_images, num_values, num_heads, dims = value_shape
    first_row = torch.add(grid.rows[0], positions, alpha=num_heads)
    order = first_row.flatten().sort().indices
    bags = order // (weights.shape[1] // num_heads)
    counts = torch.bincount(
        first_row.flatten(), minlength=num_images * num_values * num_heads)
    starts = counts.cumsum(0) - counts
    result = grad.new_zeros(num_images, num_values * num_heads, dims)
    distances = (cells.near, cells.far)
    for right, down in CORNERS:
        column = _times_weight(weights, distances[right][:, 0])
        corner = _times_weight(column, distances[down][:, 1])
        sums = F.embedding_bag(
            bags,
            grad,
            starts,
            per_sample_weights=corner.flatten()[order],
            mode='sum').view_as(result)
        level_start = 0
        for height, width in shapes:
            shift = (right * (width > 1) + down * width *
                     (height > 1)) * num_heads
            level_end = level_start + height * width * num_heads
            result[:, level_start + shift:level_end] += \
                sums[:, level_start:level_end - shift]
            level_start = level_end
    return result


def _backward_few(grad: Tensor, value: Tensor, points: Tensor, weights: Tensor,
                  grid: _Grid,
                  shapes: Shapes) -> Tuple[Tensor, Tensor, Tensor]:
    """Gradients of the values, points and weights of a few images.

    Args:
        grad (Tensor): Has shape (bs, Q, heads * dims).
        value (Tensor): Has shape (bs, N, heads, dims).
        points (Tensor): Has shape (bs, Q, 2, J).
        weights (Tensor): Has shape (bs, Q, J).
        grid (:obj:`_Grid`): Constants.
        shapes (tuple[tuple[int]]): (h, w) of each level.
    """
    num_heads = value.shape[2]
    first = _first_values(value, weights.shape[1])
    grad = grad.reshape(len(first) * num_heads, -1).contiguous()
    points, weights = points.flatten(0, 1), weights.flatten(0, 1)
    cells = find_neighbours(points, grid)
    positions = find_cells(cells, grid).add_(first)
    rows = _bag_rows(positions, grid, num_heads)
    dots = _dots_with_values(grad, value.flatten(0, 2), rows, num_heads)
    value_grad = _scatter(grad, positions, cells, weights, grid, shapes,
                          value.shape)
    return value_grad, *_point_grads(cells, weights, dots, grid)


class _EmbeddingBagAttention(Function):
    """The gather with a backward pass that needs only its inputs."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, points: Tensor,
                weights: Tensor, shapes: Shapes) -> Tensor:
        """See :func:`embedding_bag_attention`."""
        ctx.save_for_backward(value, points, weights)
        ctx.shapes = shapes
        grid = _grid_of(value, points, weights, shapes)
        bags = _gather(value, points.flatten(3), weights.flatten(2), grid)
        return bags.view(*weights.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tuple[Tensor, ...]:
        """Gradients of values, points and weights."""
        value, points, weights = inputs = ctx.saved_tensors
        grid = _grid_of(*inputs, ctx.shapes)
        points, weights = points.flatten(3), weights.flatten(2)
        size = max(weights[0].numel(), value[0].numel())
        few = max(BACKWARD_SIZE // size, 1)
        grads = [
            _backward_few(*images, grid, ctx.shapes)
            for images in zip(*(tensor.split(few)
                                for tensor in (grad, value, points, weights)))
        ]
        return (*[
            torch.cat(parts).view_as(tensor)
            for parts, tensor in zip(zip(*grads), inputs)
        ], None)


def _grid_of(value: Tensor, points: Tensor, weights: Tensor,
             shapes: Shapes) -> _Grid:
    """Constants for the inputs of :func:`embedding_bag_attention`."""
    return make_grid(shapes, value.shape[2], weights.shape[-1] // len(shapes),
                     points.dtype, points.device)


def embedding_bag_attention(value: Tensor, points: Tensor, weights: Tensor,
                            shapes: Shapes) -> Tensor:
    """Sum the bilinear samples of every query and head.

    Args:
        value (Tensor): Flattened levels, has shape (bs, N, heads, dims).
        points (Tensor): x and y of the sampled points in cells of their
            level, 0 at the centre of the first cell, has shape
            (bs, Q, 2, heads, levels * points). Cells outside count as 0.
        weights (Tensor): Attention, has shape (bs, Q, heads, levels * points).
        shapes (tuple[tuple[int]]): (h, w) of each level in cells.

    Returns:
        Tensor: Has shape (bs, Q, heads * dims).
    """
    return _EmbeddingBagAttention.apply(value, points, weights, shapes)
