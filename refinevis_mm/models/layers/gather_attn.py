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

# Numbers gathered at a time. The whole of a large picture would be some
# hundred MB.
CHUNK_VALUES = 2**21


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
        value.shape[0], device=value.device) * (num_values * num_heads)
    chunk = max(
        CHUNK_VALUES // (num_heads * num_samples * len(CORNERS) * dims), 1)
    pieces, points = [], points.flatten(3)
    for start in range(0, int(weights.shape[1]), chunk):
        attention = weights[:, start:start + chunk]
        cells = find_neighbours(points[:, start:start + chunk], grid)
        starts = find_cells(cells, grid).long() * num_heads + \
            first_rows[:, None, None]
        columns = (1 - cells.near[:, :, 0], 1 - cells.far[:, :, 0])
        rows = (1 - cells.near[:, :, 1], 1 - cells.far[:, :, 1])
        inds = torch.stack([starts + corner for corner in grid.rows.long()], 2)
        shares = torch.stack(
            [columns[right] * rows[down] for right, down in CORNERS], 2)
        # (bs, q, 4, J) -> (bs, q, heads, 4 * levels * points)
        inds, shares = [
            part.unflatten(3, (num_heads, -1)).transpose(2, 3)
            for part in (inds, shares)
        ]
        shares = (shares * attention[:, :, :, None]).flatten(3)
        sampled = table[inds.flatten(3)]
        pieces.append((shares[:, :, :, None] @ sampled).flatten(2))
    return torch.cat(pieces, 1)
