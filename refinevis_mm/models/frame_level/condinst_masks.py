# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Masks by convolutions made for each object (CondInst).

Shapes: B frames, n objects, h x w cells of the mask features, which have
stride 8.
"""
from typing import List, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.utils import aligned_bilinear
from mmengine.model import BaseModule, ModuleList, caffe2_xavier_init
from torch import Tensor

from ..layers.mask_resize import MASK_STRIDE

# Pixels between the cells of the mask features and of the masks.
FEATURE_STRIDE = 8
# Maps the mask branch adds up: strides 8, 16 and 32.
NUM_LEVELS = 3
# Channels of the dynamic convolutions: relative (x, y) and the features come
# in, two hidden layers follow, one logit goes out.
NUM_COORDS = 2
HIDDEN_CHANNELS = 8


class CondInstMaskBranch(BaseModule):
    """Per-pixel features at stride 8 from the encoded maps.

    From the coarsest map down: convolve, resize to the next finer one
    (nearest) and add; two more convolutions bring the sum to few channels.

    Args:
        in_channels (int): Channels C of the encoded maps. Defaults to 256.
        mask_dims (int): Channels of the mask features. Defaults to 8.
    """

    def __init__(self, in_channels: int = 256, mask_dims: int = 8) -> None:
        super().__init__()
        self.fuse_convs = ModuleList([
            ConvModule(in_channels, in_channels, 3, padding=1)
            for _ in range(NUM_LEVELS)
        ])
        hidden = in_channels // 4
        self.reduce_conv = ConvModule(in_channels, hidden, 3, padding=1)
        self.out_conv = ConvModule(hidden, mask_dims, 3, padding=1)

    def init_weights(self) -> None:
        """Uniform with the gain of a linear layer, biases 0."""
        super().init_weights()
        for conv in (*self.fuse_convs, self.reduce_conv, self.out_conv):
            caffe2_xavier_init(conv.conv)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Add the maps up.

        Args:
            levels (Sequence[Tensor]): Encoded maps, fine to coarse, of stride
                8, 16, 32 and up, each (B, C, h_l, w_l). Maps beyond stride 32
                are not used.

        Returns:
            Tensor: Mask features, not negative, has shape
            (B, mask_dims, h, w).
        """
        coarsest, *finer = levels[NUM_LEVELS - 1::-1]
        fused = self.fuse_convs[0](coarsest)
        for level, conv in zip(finer, self.fuse_convs[1:]):
            fused = conv(level + F.interpolate(fused, size=level.shape[-2:]))
        return self.out_conv(self.reduce_conv(fused))


def num_dynamic_params(mask_dims: int) -> int:
    """Numbers one object's convolutions are made of: 169 for 8 features."""
    return sum(_param_sizes(mask_dims))


def _param_sizes(mask_dims: int) -> List[int]:
    """Weights of the three layers, then their biases."""
    return [
        HIDDEN_CHANNELS * (NUM_COORDS + mask_dims), HIDDEN_CHANNELS**2,
        HIDDEN_CHANNELS, HIDDEN_CHANNELS, HIDDEN_CHANNELS, 1
    ]


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Pixel positions of the cells of the mask features.

    Args:
        height (int): Cells h.
        width (int): Cells w.
        like (Tensor): Gives device and dtype.

    Returns:
        Tensor: (x, y) in pixels of the padded input, has shape (2, h * w).
    """
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    y, x = torch.meshgrid(y, x, indexing='ij')
    return torch.stack([x, y]).flatten(1) * FEATURE_STRIDE + \
        FEATURE_STRIDE // 2


def dynamic_masks(params: Tensor, mask_features: Tensor,
                  boxes: Tensor) -> Tensor:
    """Mask logits by three 1x1 convolutions of each object's own.

    Their input is the position of the object's centre relative to a cell, in
    pixels, and the mask features of the cell.

    Args:
        params (Tensor): Weights of all layers, then biases, has shape
            (B, n, num_dynamic_params).
        mask_features (Tensor): Has shape (B, mask_dims, h, w).
        boxes (Tensor): Normalised (cx, cy, w, h), has shape (B, n, 4).

    Returns:
        Tensor: Logits at stride 4, float32, has shape (B, n, 2h, 2w).
    """
    bs, mask_dims, height, width = mask_features.shape
    num_objects = params.shape[1]
    # pixel positions are too large for half precision
    with torch.autocast(params.device.type, enabled=False):
        features = mask_features.float().flatten(2)  # (B, mask_dims, h * w)
        parts = params.float().split(_param_sizes(mask_dims), -1)
        # (B, n, out, in) and (B, n, out, 1) of each layer
        biases = [part[..., None] for part in parts[3:]]
        weights = [
            part.unflatten(-1, (bias.shape[2], -1))
            for part, bias in zip(parts, biases)
        ]
        size = features.new_tensor([width, height]) * FEATURE_STRIDE
        centres = (boxes[..., :2].float() * size)[..., None]
        # w (centre - cell) = -w cell + w centre: the first layer reads inputs
        # that all objects share, and no object has a copy of the features
        biases[0] = biases[0] + weights[0][..., :NUM_COORDS] @ centres
        cells = cell_centres(height, width, features).expand(bs, -1, -1)
        inputs = torch.cat([-cells, features], 1)
        hidden = weights[0].flatten(1, 2) @ inputs
        hidden = hidden.unflatten(1, (num_objects, HIDDEN_CHANNELS))
        hidden = weights[1] @ (hidden + biases[0]).relu() + biases[1]
        logits = weights[2] @ hidden.relu() + biases[2]  # (B, n, 1, h * w)
    return upsample_masks(logits.view(bs, num_objects, height, width))


def upsample_masks(mask_logits: Tensor) -> Tensor:
    """Aligned bilinear interpolation from stride 8 to stride 4 (CondInst).

    Args:
        mask_logits (Tensor): Has shape (B, n, h, w).

    Returns:
        Tensor: Has shape (B, n, 2h, 2w).
    """
    factor = FEATURE_STRIDE // MASK_STRIDE
    upsampled = aligned_bilinear(mask_logits.flatten(0, 1)[:, None], factor)
    return upsampled.view(*mask_logits.shape[:2], *upsampled.shape[-2:])


def stride_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Targets at stride 4: the pixel (2, 2) of every 4 x 4 cell, as IDOL.

    Args:
        masks (Tensor): Bool masks of the padded input, has shape (n, H, W).
        height (int): Cells of the predicted masks, at least H / 4.
        width (int): Cells of the predicted masks, at least W / 4.

    Returns:
        Tensor: Bool, has shape (n, height, width).
    """
    pad = (0, width * MASK_STRIDE - masks.shape[-1], 0,
           height * MASK_STRIDE - masks.shape[-2])
    start = MASK_STRIDE // 2
    return F.pad(masks, pad)[..., start::MASK_STRIDE, start::MASK_STRIDE]
