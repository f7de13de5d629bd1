# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From masks of the mask features' size to masks of the picture."""
import torch.nn.functional as F
from torch import Tensor

# Stride of the masks of every frame model, in input pixels.
MASK_STRIDE = 4


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
    height, width = meta['img_shape'][:2]
    size = tuple(meta['ori_shape'][:2])
    if len(mask_logits) == 0:  # interpolate refuses zero channels
        return mask_logits.new_zeros((0, *size))
    logits = F.interpolate(
        mask_logits[None],
        scale_factor=MASK_STRIDE,
        mode='bilinear',
        align_corners=False)[..., :height, :width]
    if size != (height, width):  # otherwise the identity
        align = None if mode == 'nearest' else False
        logits = F.interpolate(
            logits, size=size, mode=mode, align_corners=align)
    return logits[0]
