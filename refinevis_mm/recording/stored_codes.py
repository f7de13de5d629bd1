# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Run-length codes that come from a file of this package."""
from typing import Any, Optional, Sequence

from refinevis_mm.structures import CODE, MAX_PIXELS, check_form
from refinevis_mm.vis_json import ERROR, Defect, VideoSize, VISChecker


def check_size(size: Any, what: str) -> None:
    """Raise ValueError unless a size is that of a frame.

    Args:
        size (Any): Height and width in pixels.
        what (str): What to call it.

    Raises:
        ValueError: If it is not, or so large that no mask fits in memory.
    """
    check_form(size, [int], what)
    if len(size) != 2 or min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f'{what} must be a height and width of at most '
                         f'{MAX_PIXELS} pixels, got {list(size)[:4]}')


def check_codes(masks: Sequence[Optional[dict]], size: Sequence[int],
                what: str) -> None:
    """Raise ValueError unless codes are whole and cover the frame.

    pycocotools believes what a code says.

    Args:
        masks (Sequence[dict | None]): COCO run-length codes.
        size (Sequence[int]): Height and width that they must have, in pixels.
        what (str): What they are of.

    Raises:
        ValueError: Naming the first that is not.
    """
    check_size(size, f'size of {what}')
    check_form(masks, [(None, CODE)], f'a mask of {what}')

    def refuse(defect: Defect) -> None:
        if defect.level == ERROR:
            raise ValueError(f'a mask of {what} is damaged: {defect.message}')

    codes = [mask and dict(mask, size=list(mask['size'])) for mask in masks]
    VISChecker(refuse).check_masks(
        dict(segmentations=codes), VideoSize(size[0], size[1], len(masks)))
