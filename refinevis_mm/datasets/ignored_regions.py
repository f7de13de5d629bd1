# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Regions that say nothing about what is in them.

Where only some objects of a picture are labelled, the rest of it is unknown,
not background. Such a region is an annotation with ``iscrowd=1``, as COCO has
it for crowds: what is found there is neither right nor wrong.
"""
from typing import Any, Optional, Sequence

import numpy as np
import pycocotools.mask as mask_utils

from refinevis_mm.vis_json import compress_mask


def unlabelled_region(segmentations: Sequence[Any], height: int,
                      width: int) -> Optional[dict]:
    """The pixels of a picture that belong to none of its objects.

    Args:
        segmentations (Sequence): RLE (counts as a list or compressed) or
            polygons of the objects, any number.
        height (int): Of the picture, in pixels.
        width (int): Of the picture, in pixels.

    Returns:
        dict, optional: Compressed RLE, ``counts`` as str; None if the objects
        cover the picture.

    Raises:
        ValueError: If a segmentation is malformed.
    """
    rest = np.ones((height, width), np.uint8, order='F')
    for mask in segmentations:
        counts, _ = compress_mask(mask, height, width)
        rest &= 1 - mask_utils.decode(
            dict(size=[height, width], counts=counts))
    if not rest.any():
        return None
    rle = mask_utils.encode(rest)
    return dict(size=[height, width], counts=rle['counts'].decode('ascii'))
