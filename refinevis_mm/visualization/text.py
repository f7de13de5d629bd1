# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Text in pictures, in DejaVu Sans, which comes with matplotlib.

OpenCV's own fonts are thin and have no letters outside ASCII.
"""
import os.path as osp
from functools import lru_cache
from typing import Tuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from refinevis_mm.utils.palette import Color

BLACK: Color = (0, 0, 0)


@lru_cache(maxsize=16)
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of all pictures.

    Args:
        size (int): Height of an em in pixels.
        bold (bool): Whether the bold face is wanted. Defaults to False.

    Returns:
        ImageFont.FreeTypeFont: The font.
    """
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    folder = osp.join(matplotlib.get_data_path(), 'fonts', 'ttf')
    return ImageFont.truetype(osp.join(folder, name), size)


def text_size(text: str, size: int, bold: bool = False) -> Tuple[int, int]:
    """Extent of a line of text.

    Args:
        text (str): The line.
        size (int): Font size in pixels.
        bold (bool): See :func:`load_font`. Defaults to False.

    Returns:
        tuple[int, int]: Width, and the height that all lines of this size
        have, in pixels.
    """
    font = load_font(size, bold)
    return int(np.ceil(font.getlength(text))), sum(font.getmetrics())


def draw_text(canvas: np.ndarray,
              text: str,
              corner: Tuple[int, int],
              size: int,
              color: Color = BLACK,
              bold: bool = False) -> None:
    """Write a line of text in place; what lies outside is cut off.

    Args:
        canvas (np.ndarray): Has shape (H, W, 3), uint8, BGR.
        text (str): The line.
        corner (tuple[int, int]): Left and top end of the line in pixels.
        size (int): Font size in pixels.
        color (tuple[int, int, int]): BGR. Defaults to black.
        bold (bool): See :func:`load_font`. Defaults to False.
    """
    width, height = text_size(text, size, bold)
    x, y = corner
    left, top = max(x, 0), max(y, 0)
    part = canvas[top:max(y + height, 0), left:max(x + width, 0)]
    if part.size == 0:
        return
    # drawn on the part of the canvas that it covers only
    picture = Image.fromarray(np.ascontiguousarray(part))
    ImageDraw.Draw(picture).text((x - left, y - top),
                                 text,
                                 fill=color,
                                 font=load_font(size, bold))
    part[:] = np.asarray(picture)
