# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Before/after picture of refinement, in the manner of the paper's Figure 3."""
import heapq
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Sequence, Tuple

import cv2
import numpy as np

from .vis_overlay import FONT, display_scale

COLUMNS = ('image', 'frame level', 'refined')
MARGIN = 8  # px between panels
TITLE_HEIGHT = 26  # px
MAX_PANEL_WIDTH = 576  # px


def panel_scale(height: int, width: int) -> float:
    """Factor that brings a video's frames to the size of the panels.

    Args:
        height (int): Pixels.
        width (int): Pixels.

    Returns:
        float: Not above :func:`display_scale`.
    """
    return min(display_scale(height, width), MAX_PANEL_WIDTH / width)


def refinement_change(before: Dict[int, np.ndarray], after: Dict[int,
                                                                 np.ndarray],
                      weights: Dict[int, float]) -> Tuple[float, List[int]]:
    """How much refinement changed a frame.

    Args:
        before (dict[int, np.ndarray]): Frame-level masks by instance id,
            bool, each has shape (H, W).
        after (dict[int, np.ndarray]): Refined masks by instance id.
        weights (dict[int, float]): Weight of each instance, e.g. its score;
            other instances do not count.

    Returns:
        tuple[float, list[int]]: Sum of weight * (1 - IoU of the two masks),
        and the ids with a mask only after refinement.
    """
    change, recovered = 0., []
    for instance_id, weight in weights.items():
        masks = [side.get(instance_id) for side in (before, after)]
        old, new = (mask is not None and bool(mask.any()) for mask in masks)
        if not old and not new:
            continue
        if old and new:
            union = np.count_nonzero(masks[0] | masks[1])
            change += weight * (1 -
                                np.count_nonzero(masks[0] & masks[1]) / union)
            continue
        change += weight
        if new:
            recovered.append(instance_id)
    return change, recovered


@dataclass(order=True)
class _Row:
    """A frame of the figure; ordered by change, ties: the later is less."""

    change: float
    minus_frame_id: int
    caption: str = field(default='', compare=False)
    panels: Sequence[np.ndarray] = field(default=(), compare=False)

    @property
    def frame_id(self) -> int:
        return -self.minus_frame_id


class RefinementFigure:
    """Keeps the frames that refinement changed most and draws them.

    Rows are frames by time; columns the image, the frame-level result and
    the refined one. At most ``num_rows`` frames are held.

    Args:
        num_rows (int): Most frames shown. Defaults to 4.
        min_gap (int): Least distance of two rows in frames; of nearer ones
            the more changed is kept. Defaults to 5.

    Raises:
        ValueError: If ``num_rows`` is not positive.
    """

    def __init__(self, num_rows: int = 4, min_gap: int = 5) -> None:
        if num_rows < 1:
            raise ValueError(f'num_rows must be positive, got {num_rows}')
        self.num_rows = num_rows
        self.min_gap = min_gap
        self._rows: List[_Row] = []

    @property
    def frame_ids(self) -> List[int]:
        """list[int]: Frames held now, by time."""
        return sorted(row.frame_id for row in self._rows)

    def add(self, frame_id: int, change: float, caption: str,
            draw: Callable[[], Sequence[np.ndarray]]) -> None:
        """Consider a frame.

        Args:
            frame_id (int): Position in the video.
            change (float): How much refinement changed it.
            caption (str): Title of the row.
            draw (Callable): Gives the three panels, each of shape (H, W, 3),
                uint8, BGR, the same in all rows (see :func:`panel_scale`);
                called only if the frame is taken.
        """
        row = _Row(change, -frame_id, caption)
        near = [
            other for other in self._rows
            if abs(other.frame_id - frame_id) < self.min_gap
        ]
        if any(other > row for other in near):
            return
        rows = [other for other in self._rows if other not in near] + [row]
        self._rows = heapq.nlargest(self.num_rows, rows)
        if row in self._rows:
            row.panels = draw()

    def draw(self) -> np.ndarray:
        """Draw the figure.

        Returns:
            np.ndarray: Has shape (H, W, 3), uint8, BGR.

        Raises:
            ValueError: If no frame was added.
        """
        if not self._rows:
            raise ValueError('a figure needs at least one frame, got none')
        rows = sorted(self._rows, key=lambda row: row.frame_id)
        return draw_panels(
            [row.panels for row in rows], COLUMNS,
            [f'frame {row.frame_id}   {row.caption}' for row in rows])


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
        _write(canvas, title, left, 0)
        for index, panels in enumerate(rows):
            top = TITLE_HEIGHT + index * step
            canvas[top + TITLE_HEIGHT:top + TITLE_HEIGHT + height,
                   left:left + width] = panels[column]
    for index, title in enumerate(row_titles):
        _write(canvas, title, MARGIN, TITLE_HEIGHT + index * step)
    return canvas


def _write(canvas: np.ndarray, text: str, left: int, top: int) -> None:
    """Write a line of black text in place."""
    cv2.putText(canvas, text, (left, top + TITLE_HEIGHT - 9), FONT, 0.5,
                (0, 0, 0), 1, cv2.LINE_AA)
