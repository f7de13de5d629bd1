# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Deformable attention of indexing and products, for graphs of other runtimes.

The same sum as in :mod:`.embedding_bag_attn`, of operators that every
runtime has: ``grid_sample`` is compiled wrongly by some, and
``embedding_bag`` has no form in ONNX. Height and width are constants of the
graph, the batch is not.
"""
from functools import lru_cache

import torch
from torch import Tensor

from .embedding_bag_attn import (CORNERS, MAX_CACHED_SIZES, Shapes, find_cells,
                                 find_neighbours, make_grid)

# Numbers gathered at a time: those of a large picture would be some 100 MB.
CHUNK_VALUES = 2**23


def gather_attention(value: Tensor, points: Tensor, weights: Tensor,
                     shapes: Shapes) -> Tensor:
    """See :func:`embedding_bag_attention`, whose arguments these are.

    Returns:
        Tensor: Has shape (bs, Q, heads * dims).
    """
    # a tracer has sizes as tensors: all but the batch are constants
    num_values, num_heads, dims = [int(size) for size in value.shape[1:]]
    num_samples = int(weights.shape[-1])
    grid = make_grid(shapes, num_heads, num_samples // len(shapes),
                     points.dtype, points.device)
    table = _join_corners(value, shapes)
    first_rows = torch.arange(
        value.shape[0], dtype=torch.int32, device=value.device) * (
            num_values * num_heads)
    first_rows = first_rows[:, None, None] + grid.rows[0]
    num_gathered = num_samples * len(CORNERS)
    chunk = max(CHUNK_VALUES // (num_heads * num_gathered * dims), 1)
    pieces, points = [], points.flatten(3)
    for start in range(0, int(weights.shape[1]), chunk):
        attention = weights[:, start:start + chunk]
        cells = find_neighbours(points[:, start:start + chunk], grid)
        rows = find_cells(cells, grid) * num_heads + first_rows
        near, far = 1 - cells.near, 1 - cells.far
        down = [
            attention * side[:, :, 1].unflatten(2, (num_heads, -1))
            for side in (near, far)
        ]
        right = [
            side[:, :, 0].unflatten(2, (num_heads, -1)) for side in (near, far)
        ]
        # (bs, q, heads, levels * points, 4)
        shares = torch.stack([right[i] * down[j] for i, j in CORNERS], -1)
        sampled = table.index_select(0, rows.flatten())
        sampled = sampled.view(-1, *attention.shape[1:3], num_gathered, dims)
        pieces.append((shares.flatten(3)[:, :, :, None] @ sampled).flatten(2))
    return torch.cat(pieces, 1)


def _join_corners(value: Tensor, shapes: Shapes) -> Tensor:
    """The values of four neighbours side by side: one row for each point.

    Args:
        value (Tensor): Has shape (bs, N, heads, dims).
        shapes (tuple[tuple[int]]): (h, w) of each level in cells.

    Returns:
        Tensor: A cell, the one right of it, that below and the one right of
        that, has shape (bs * N * heads, 4 * dims). Beyond the last cells of
        a level, where no point looks, there is anything.
    """
    corners = _corner_cells(shapes, value.device)
    joined = value.index_select(1, corners.flatten())
    joined = joined.unflatten(1, corners.shape).transpose(2, 3)
    return joined.reshape(-1, len(CORNERS) * int(value.shape[-1]))


@lru_cache(maxsize=MAX_CACHED_SIZES)
def _corner_cells(shapes: Shapes, device: torch.device) -> Tensor:
    """Positions (N, 4) of the corners of each cell, made once per size."""
    corners, start = [], 0
    with torch.inference_mode(False):
        for height, width in shapes:
            cells = torch.arange(height * width, device=device)
            steps = [
                right * (width > 1) + down * width * (height > 1)
                for right, down in CORNERS
            ]
            level = cells[:, None] + cells.new_tensor(steps)
            corners.append(level.clamp(max=len(cells) - 1) + start)
            start += len(cells)
        return torch.cat(corners)
