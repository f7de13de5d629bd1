# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pictures in a table with titles."""
from typing import Sequence

import numpy as np

from .text import draw_text

MARGIN = 8  # px between panels
TITLE_HEIGHT = 26  # px
FONT_SIZE = 14  # px


def draw_panels(rows: Sequence[Sequence[np.ndarray]],
                column_titles: Sequence[str],
                row_titles: Sequence[str]) -> np.ndarray:
    """Arrange pictures in a table.

    Args:
        rows (Sequence[Sequence[np.ndarray]]): Panels of each row, as many as
            there are columns; each has shape (H, W, 3), uint8, BGR, all of
            one size.
        column_titles (Sequence[str]): Written above the columns.
        row_titles (Sequence[str]): Written above the rows, at the left.

    Returns:
        np.ndarray: Has shape (height, width, 3), uint8, BGR.
    """
    height, width = rows[0][0].shape[:2]
    step = height + TITLE_HEIGHT + MARGIN
    canvas = np.full(
        (TITLE_HEIGHT + len(rows) * step, MARGIN + len(column_titles) *
         (width + MARGIN), 3), 255, np.uint8)
    for column, title in enumerate(column_titles):
        left = MARGIN + column * (width + MARGIN)
        draw_text(canvas, title, (left, 4), FONT_SIZE)
        for index, panels in enumerate(rows):
            top = TITLE_HEIGHT + index * step
            canvas[top + TITLE_HEIGHT:top + TITLE_HEIGHT + height,
                   left:left + width] = panels[column]
    for index, title in enumerate(row_titles):
        draw_text(canvas, title, (MARGIN, TITLE_HEIGHT + index * step + 4),
                  FONT_SIZE)
    return canvas
