# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Masks as run-length codes."""
from typing import List, Optional

import numpy as np
from pycocotools import mask as mask_utils
from torch import Tensor

# of a frame; pycocotools counts in 32 bits, and crashes where memory ends
MAX_PIXELS = 2**28


def encode_masks(masks: Tensor) -> List[Optional[dict]]:
    """Run-length codes of masks.

    Args:
        masks (Tensor): Bool, has shape (N, H, W).

    Returns:
        list[dict | None]: N COCO codes: ``size`` [H, W] and ``counts``, a
        str; None for an empty mask.
    """
    pixels = masks.detach().bool().cpu().numpy().astype(np.uint8)
    rles = mask_utils.encode(np.asfortranarray(pixels.transpose(1, 2, 0)))
    return [
        dict(
            size=[int(side) for side in rle['size']],
            counts=rle['counts'].decode('ascii')) if filled else None
        for rle, filled in zip(rles, pixels.any(axis=(1, 2)))
    ]
