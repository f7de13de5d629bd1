# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Text in pictures, in DejaVu Sans, which comes with matplotlib.

OpenCV's own fonts are thin and have no letters outside ASCII. Text with signs
that DejaVu Sans lacks, Chinese for example, is written in a font of the
system that has them. Where there is none, their codes stand for them, so that
different names look different.
"""
import logging
import os.path as osp
import re
import string
from functools import lru_cache
from typing import FrozenSet, Optional, Tuple

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from mmengine.logging import print_log
from PIL import Image, ImageDraw, ImageFont

from refinevis_mm.utils.palette import Color

BLACK: Color = (0, 0, 0)
ASCII = string.digits + string.ascii_letters + string.punctuation
PLACEHOLDERS = 'lastresort'  # fonts that have one picture for many signs
TEST_SIZE = 16  # px, at which a sign must leave a mark
MAX_LENGTH = 200  # characters of a line


@lru_cache(maxsize=16)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font.

    Args:
        path (str): Its file.
        size (int): Height of an em in pixels.

    Returns:
        ImageFont.FreeTypeFont: The font.
    """
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=1024)
def fit_text(text: str, bold: bool = False) -> Tuple[str, str]:
    """Choose a font for a line of text, or change the text.

    Args:
        text (str): The line.
        bold (bool): Whether the bold face is wanted; there is one of DejaVu
            Sans only. Defaults to False.

    Returns:
        tuple[str, str]: File of the font, and the line with codes (U+732B)
        in the place of what cannot be written. It ends after 200 characters.
    """
    text = shorten(text, MAX_LENGTH)
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    own = osp.join(matplotlib.get_data_path(), 'fonts', 'ttf', name)
    text = re.sub(r'\s', ' ', text)
    text = _encode(text, {char for char in text if not char.isprintable()})
    missing = {char for char in text if ord(char) not in _signs(own)}
    if not missing:
        return own, text
    signs = ''.join(sorted(char for char in set(text) if not char.isascii()))
    path = _find_font(signs)
    if path is not None:
        return path, text
    _warn()
    return own, _encode(text, missing)


def shorten(text: str, length: int) -> str:
    """Cut off the end of a long text.

    Args:
        text (str): The text.
        length (int): Most characters.

    Returns:
        str: The text, or its beginning and an ellipsis.
    """
    return text if len(text) <= length else f'{text[:length - 1]}…'


def _encode(text: str, chars: set) -> str:
    """Put codes in the place of some characters."""
    return ''.join(f'U+{ord(char):04X}' if char in chars else char
                   for char in text)


@lru_cache(maxsize=2)
def _signs(path: str) -> FrozenSet[int]:
    """Codes of the signs of a font."""
    return frozenset(FT2Font(path).get_charmap())


@lru_cache(maxsize=1024)
def _find_font(signs: str) -> Optional[str]:
    """Look for a font of the system that has all of some signs, and ASCII."""
    # looks for fonts when it is imported
    from matplotlib.font_manager import findSystemFonts
    for path in sorted(findSystemFonts()):
        if PLACEHOLDERS not in osp.basename(path).lower() and _can_write(
                path, signs):
            return path
    return None


def _can_write(path: str, signs: str) -> bool:
    """Whether a font has signs and leaves a mark for each."""
    try:
        charmap = FT2Font(path)
        if not all(
                charmap.get_char_index(ord(char)) for char in ASCII + signs):
            return False
        font = ImageFont.truetype(path, TEST_SIZE)
        return all(font.getmask(char).getbbox() for char in signs)
    except (OSError, RuntimeError):
        return False  # no font that can be scaled


@lru_cache(maxsize=1)
def _warn() -> None:
    """Say once what the codes mean."""
    print_log(
        'names are drawn with codes (U+732B) in the place of signs that no '
        'font of this computer has; fonts such as Noto Sans CJK have many',
        logger='current',
        level=logging.WARNING)


def text_size(text: str, size: int, bold: bool = False) -> Tuple[int, int]:
    """Extent of a line of text.

    Args:
        text (str): The line.
        size (int): Font size in pixels.
        bold (bool): See :func:`fit_text`. Defaults to False.

    Returns:
        tuple[int, int]: Width, and the height that all lines of this size
        and font have, in pixels.
    """
    path, text = fit_text(text, bold)
    font = load_font(path, size)
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
        bold (bool): See :func:`fit_text`. Defaults to False.
    """
    width, height = text_size(text, size, bold)
    x, y = corner
    left, top = max(x, 0), max(y, 0)
    part = canvas[top:max(y + height, 0), left:max(x + width, 0)]
    if part.size == 0:
        return
    path, text = fit_text(text, bold)
    # drawn on the part of the canvas that it covers only
    picture = Image.fromarray(np.ascontiguousarray(part))
    ImageDraw.Draw(picture).text((x - left, y - top),
                                 text,
                                 fill=color,
                                 font=load_font(path, size))
    part[:] = np.asarray(picture)
