# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From masks of the mask features' size to masks of the picture."""
import torch.nn.functional as F
from torch import Tensor

# Stride of the masks of every frame model, in input pixels.
MASK_STRIDE = 4


def enlarge_masks(mask_logits: Tensor, meta: dict) -> Tensor:
    """Bring stride-4 logits to the size of the network input, bilinearly.

    Args:
        mask_logits (Tensor): Logits of the padded input at stride 4, has
            shape (N, h, w).
        meta (dict): ``img_shape`` (before padding).

    Returns:
        Tensor: Logits without padding, has shape (N, img_h, img_w).
    """
    height, width = meta['img_shape'][:2]
    if len(mask_logits) == 0:  # interpolate refuses zero channels
        return mask_logits.new_zeros((0, height, width))
    return F.interpolate(
        mask_logits[None],
        scale_factor=MASK_STRIDE,
        mode='bilinear',
        align_corners=False)[0, :, :height, :width]


def fit_masks(mask_logits: Tensor,
              meta: dict,
              mode: str = 'bilinear') -> Tensor:
    """Bring logits of :func:`enlarge_masks` to the original size.

    Args:
        mask_logits (Tensor): Has shape (N, img_h, img_w).
        meta (dict): ``ori_shape``.
        mode (str): See :func:`resize_masks`. Defaults to 'bilinear'.

    Returns:
        Tensor: Logits, has shape (N, ori_h, ori_w).
    """
    size = tuple(meta['ori_shape'][:2])
    if len(mask_logits) == 0:  # interpolate refuses zero channels
        return mask_logits.new_zeros((0, *size))
    if size == tuple(mask_logits.shape[1:]):
        return mask_logits
    align = None if mode == 'nearest' else False
    return F.interpolate(
        mask_logits[None], size=size, mode=mode, align_corners=align)[0]


def resize_masks(mask_logits: Tensor,
                 meta: dict,
                 mode: str = 'bilinear') -> Tensor:
    """Bring stride-4 logits to the original size (method of MaskDINO).

    They are enlarged to the input, bilinearly, cropped, and resized again.

    Args:
        mask_logits (Tensor): Logits of the padded input at stride 4, has
            shape (N, h, w).
        meta (dict): ``img_shape`` (before padding) and ``ori_shape``.
        mode (str): Of the second step, 'bilinear' or 'nearest', the latter
            as IDOL. Defaults to 'bilinear'.

    Returns:
        Tensor: Logits, has shape (N, ori_h, ori_w).
    """
    return fit_masks(enlarge_masks(mask_logits, meta), meta, mode)
