# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Which cells of the feature maps are padding, as in official Deformable DETR.

Pictures lie in the upper left corner of the padded input, so one vector for
the rows and one for the columns say all of a mask. Sizes are numbers: what
follows from them alone is decided in NumPy, and constant in an exported graph.

One size stands for all frames of a batch.
"""
from typing import List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor


def check_sizes(sizes: Sequence[Tuple[int, int]], images: Tensor) -> None:
    """Raise ValueError unless every frame has a size inside the input.

    Args:
        sizes (Sequence[tuple[int]]): (h, w) of each frame before padding, or
            one for all.
        images (Tensor): Padded frames, has shape (B, 3, H, W).
    """
    height, width = images.shape[-2:]
    fits = len(sizes) == 1 or len(sizes) == len(images)
    if not fits or any(not (1 <= size[0] <= height and 1 <= size[1] <= width)
                       for size in sizes):
        raise ValueError(
            f'sizes must be {len(images)} pairs (h, w), or one for all, from '
            f'1 x 1 to the padded {height} x {width}, got '
            f'{[tuple(s) for s in sizes]}')


def picture_shares(sizes: Sequence[Tuple[int, int]], images: Tensor) -> Tensor:
    """Width and height of pictures as shares of the padded input's.

    Args:
        sizes (Sequence[tuple[int]]): (h, w) of each frame before padding.
        images (Tensor): Padded frames, has shape (B, 3, H, W).

    Returns:
        Tensor: In (0, 1], has shape (B, 2).
    """
    shares = images.new_tensor([size[1::-1] for size in sizes]) / \
        images.new_tensor(images.shape[:1:-1])
    return shares.expand(images.shape[0], -1)


def clear_padding(images: Tensor, sizes: Sequence[Tuple[int, int]]) -> Tensor:
    """Padded frames (B, 3, H, W) with 0 wherever there is no picture."""
    rows, columns = _padded_lines(sizes, images.shape[-2:])
    if not (rows.any() or columns.any()):
        return images
    padding = _as_mask(rows, columns, images.device)
    return images.masked_fill(padding[:, None], 0)


def level_padding(sizes: Sequence[Tuple[int, int]], images: Tensor,
                  levels: Sequence[Tensor],
                  num_maps: int) -> Optional[List[Tensor]]:
    """Padded cells of feature maps, by nearest sampling.

    The maps of the backbone sample the pixels, the coarser levels made of
    the last map sample the finest level.

    Args:
        sizes (Sequence[tuple[int]]): (h, w) of each frame before padding.
        images (Tensor): Padded frames, has shape (B, 3, H, W).
        levels (Sequence[Tensor]): Maps, fine to coarse, each (B, C, h_l,
            w_l).
        num_maps (int): Levels that are maps of the backbone.

    Returns:
        list[Tensor] | None: Bool, True at padding, each (B, h_l, w_l); None
        where no cell of any level is padding.
    """
    lines = _padded_lines(sizes, images.shape[-2:])
    finest = lines
    masks, any_padding = [], False
    for i, level in enumerate(levels):
        source = lines if i < num_maps else finest
        rows, columns = [
            _sample(line, num) for line, num in zip(source, level.shape[-2:])
        ]
        if i == 0:
            finest = rows, columns
        any_padding |= bool(rows.any() or columns.any())
        mask = _as_mask(rows, columns, level.device)
        masks.append(mask.expand(level.shape[0], -1, -1))
    return masks if any_padding else None


def _padded_lines(sizes: Sequence[Tuple[int, int]],
                  shape: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """Bool, rows (B, H) and columns (B, W) without picture."""
    rows, columns = [
        np.arange(num) >= np.array([size[side] for size in sizes])[:, None]
        for side, num in enumerate(shape)
    ]
    return rows, columns


def _sample(line: np.ndarray, num: int) -> np.ndarray:
    """Nearest sampling of bools (B, n) at ``num`` places, (B, num).

    In float32, as :func:`torch.nn.functional.interpolate`.
    """
    length = line.shape[1]
    step = np.float32(length) / np.float32(num)
    inds = (np.arange(num, dtype=np.float32) * step).astype(int)
    return line[:, inds.clip(max=length - 1)]


def _as_mask(rows: np.ndarray, columns: np.ndarray,
             device: torch.device) -> Tensor:
    """Bool (B, H, W), True in padded rows and columns."""
    return torch.tensor(
        rows, device=device)[:, :, None] | torch.tensor(
            columns, device=device)[:, None]
