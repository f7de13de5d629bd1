# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Deformable attention of indexing and products, for graphs of other runtimes.

The same sum as in :mod:`.embedding_bag_attn`, of operators that every
runtime has: ``grid_sample`` is compiled wrongly by some, and
``embedding_bag`` has no form in ONNX. Height and width are constants of the
graph, the batch is not.
"""
import torch
from torch import Tensor

from .embedding_bag_attn import (CORNERS, Shapes, find_cells, find_neighbours,
                                 make_grid)

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
    table = value.reshape(-1, dims)
    first_rows = torch.arange(
        value.shape[0], dtype=torch.int32, device=value.device) * (
            num_values * num_heads)
    num_gathered = num_samples * len(CORNERS)
    chunk = max(CHUNK_VALUES // (num_heads * num_gathered * dims), 1)
    pieces, points = [], points.flatten(3)
    for start in range(0, int(weights.shape[1]), chunk):
        attention = weights[:, start:start + chunk]
        cells = find_neighbours(points[:, start:start + chunk], grid)
        cell_rows = find_cells(cells, grid) * num_heads + \
            first_rows[:, None, None]
        near, far = 1 - cells.near, 1 - cells.far
        down = [
            attention * side[:, :, 1].unflatten(2, (num_heads, -1))
            for side in (near, far)
        ]
        right = [
            side[:, :, 0].unflatten(2, (num_heads, -1)) for side in (near, far)
        ]
        # (bs, q, heads, 4, levels * points)
        rows = torch.stack([(cell_rows + corner).unflatten(2, (num_heads, -1))
                            for corner in grid.rows], 3)
        shares = torch.stack([right[i] * down[j] for i, j in CORNERS], 3)
        sampled = table.index_select(0, rows.flatten())
        sampled = sampled.view(-1, *attention.shape[1:3], num_gathered, dims)
        pieces.append((shares.flatten(3)[:, :, :, None] @ sampled).flatten(2))
    return torch.cat(pieces, 1)
