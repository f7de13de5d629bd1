# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Encoded frames, as the decoder of SeqFormer reads them."""
from dataclasses import dataclass
from typing import List, Optional, Sequence

from torch import Tensor

from ..layers.transformer_layers import flatten_levels, flatten_masks


@dataclass
class EncodedFrames:
    """Frames of one padded size, n in number.

    Attributes:
        value (Tensor): Encoded maps of all levels, fine to coarse, one after
            the other, has shape (n, S, C).
        padding (Tensor, optional): Bool, True at padded cells, has shape
            (n, S). None where there are none.
        shapes (Tensor): (h, w) of each level, has shape (levels, 2).
        starts (Tensor): First cell of each level, has shape (levels, ).
        ratios (Tensor): Shares (w, h) of a level's cells that are picture,
            has shape (n, levels, 2).
        mask_features (Tensor): Has shape (n, C', h', w').
        shares (Tensor): Width and height of the pictures as shares of the
            padded input's, has shape (n, 2).
    """

    value: Tensor
    padding: Optional[Tensor]
    shapes: Tensor
    starts: Tensor
    ratios: Tensor
    mask_features: Tensor
    shares: Tensor

    def __len__(self) -> int:
        return len(self.value)

    @classmethod
    def from_levels(cls, levels: Sequence[Tensor],
                    masks: Optional[List[Tensor]], mask_features: Tensor,
                    shares: Tensor) -> 'EncodedFrames':
        """Flatten encoded maps.

        Args:
            levels (Sequence[Tensor]): Encoded maps, fine to coarse, each
                (n, C, h_l, w_l).
            masks (list[Tensor], optional): Their padded cells, bool, each
                (n, h_l, w_l).
            mask_features (Tensor): See the class.
            shares (Tensor): See the class.

        Returns:
            :obj:`EncodedFrames`: The frames.
        """
        value, shapes, starts, ratios = flatten_levels(levels, masks)
        return cls(value, flatten_masks(masks), shapes, starts, ratios,
                   mask_features, shares)
