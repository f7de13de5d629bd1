# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""When each track of a video was detected, recovered and missed."""
import math
from typing import List, Optional, Tuple

import cv2
import numpy as np

from refinevis_mm.recording import STATES, TrackSummary, VideoRecording
from refinevis_mm.utils.palette import Color, instance_color
from .text import draw_text, shorten, text_size
from .vis_overlay import instance_text

MAX_ROWS = 40
MAX_NAME = 24  # characters of a class
PLOT_WIDTH = 900  # px
ROW = 22  # px, height of a row
BAR = 14  # px, height of a bar
LOW_BAR = 8  # px, of one that is hatched: to be told apart where it is narrow
MIN_LENGTH = 3  # px, of a bar
HATCH = 6  # px between the strokes of a hatched bar
DOT = 6  # px between the dots of a line
MARGIN = 14  # px
FONT_SIZE = 13  # px
MAX_TICKS = 10
BLACK: Color = (0, 0, 0)
EDGE: Color = (60, 60, 60)
GRAY: Color = (90, 90, 90)
GRID: Color = (225, 225, 225)
DETECTED, RECOVERED, MISSED = STATES
LEGEND = ((DETECTED, 'detected'), (RECOVERED, 'recovered by refinement'),
          (MISSED, 'missed'))


def draw_timeline(recording: VideoRecording,
                  view: Optional[str] = None,
                  score_thr: float = 0.3) -> np.ndarray:
    """Draw the tracks of a video over its time.

    A row per track, in the order in which they appear: a bar where the frame
    model detected the object, a lower, hatched one where only refinement
    found it, a dotted line where it was missed. The form tells them apart;
    the colour is that of the id. Of more than 40 tracks those that were seen
    in most frames are drawn, and the picture says so.

    Args:
        recording (:obj:`VideoRecording`): The results.
        view (str, optional): Defaults to None, the main view.
        score_thr (float): Least final score of a drawn track, in [0, 1].
            Defaults to 0.3.

    Returns:
        np.ndarray: Has shape (H, W, 3), uint8, BGR; H depends on the number
        of tracks only.

    Raises:
        ValueError: If there is no such view.
    """
    found = [
        track for track in recording.tracks(view) if track.score >= score_thr
    ]
    tracks = _select(found)
    runs = recording.track_states(view)
    edges = _frame_edges(recording)
    labels = [
        instance_text(shorten(track.name, MAX_NAME), track.id, track.score)
        for track in tracks
    ]
    left = MARGIN + max([0] +
                        [text_size(text, FONT_SIZE)[0]
                         for text in labels]) + MARGIN
    top = MARGIN + 2 * ROW
    bottom = top + max(len(tracks), 1) * ROW
    canvas = np.full(
        (bottom + 2 * ROW + MARGIN, left + PLOT_WIDTH + 2 * MARGIN, 3), 255,
        np.uint8)
    _write(canvas, _summary(len(found), len(tracks), score_thr),
           (MARGIN, MARGIN))
    _draw_legend(canvas, (MARGIN, MARGIN + ROW))
    _draw_axis(canvas, (left, top), bottom, edges[-1])
    scale = PLOT_WIDTH / edges[-1]
    for row, (track, label) in enumerate(zip(tracks, labels)):
        middle = top + row * ROW + ROW // 2
        _write(canvas, label, (MARGIN, middle - ROW // 2 + 3))
        # a short bar may cover its neighbours: the rarer states come last
        for state in (MISSED, DETECTED, RECOVERED):
            for first, end, run_state in runs[track.id]:
                if run_state == state:
                    start, stop = (
                        left + round(scale * edges[frame_id])
                        for frame_id in (first, end))
                    _draw_state(canvas, state, start, stop, middle,
                                instance_color(track.id))
    if not tracks:
        _write(canvas, 'no track', (left + MARGIN, top + 3), GRAY)
    return canvas


def _select(tracks: List[TrackSummary]) -> List[TrackSummary]:
    """The tracks seen in most frames, in the order of appearance."""
    seen = [track.num_detected + track.num_recovered for track in tracks]
    best = sorted(range(len(tracks)), key=lambda row: -seen[row])[:MAX_ROWS]
    return [tracks[row] for row in sorted(best)]


def _summary(num_found: int, num_drawn: int, score_thr: float) -> str:
    """Headline of the picture."""
    tracks = 'track' if num_found == 1 else 'tracks'
    text = f'{num_found} {tracks} with a score of at least {score_thr:g}'
    num_left_out = num_found - num_drawn
    if num_left_out:
        text += (f'; the {num_drawn} seen longest are drawn, {num_left_out} '
                 'left out')
    return text


def _frame_edges(recording: VideoRecording) -> np.ndarray:
    """Seconds at which each frame begins, and the end of the last one."""
    times = np.array(recording.times())
    if not len(times):
        return np.ones(1)
    # the last frame lasts as long as the others
    length = np.median(np.diff(times)) if len(times) > 1 else 0.
    if length <= 0:
        length = 1 / recording.fps if recording.fps > 0 else 1.
    return np.append(times - times[0], times[-1] - times[0] + length)


def _tick_step(duration: float) -> float:
    """Least of 1, 2 or 5 times a power of ten with few enough ticks."""
    power = 10.**math.floor(math.log10(duration / MAX_TICKS))
    return next(factor * power for factor in (1, 2, 5, 10)
                if factor * power * MAX_TICKS >= duration * (1 - 1e-9))


def _draw_axis(canvas: np.ndarray, corner: Tuple[int, int], bottom: int,
               duration: float) -> None:
    """Draw the time in seconds below the rows, and lines through them."""
    left, top = corner
    step = _tick_step(duration)
    for number in range(math.floor(duration / step * (1 + 1e-9)) + 1):
        x = left + round(PLOT_WIDTH * number * step / duration)
        cv2.line(canvas, (x, top), (x, bottom + 4), GRID, 1)
        text = f'{number * step:.6g}'
        width = text_size(text, FONT_SIZE)[0]
        _write(canvas, text, (x - width // 2, bottom + 6))
    cv2.line(canvas, (left, bottom), (left + PLOT_WIDTH, bottom), GRAY, 1)
    text = 'time in seconds'
    width = text_size(text, FONT_SIZE)[0]
    _write(canvas, text, (left + (PLOT_WIDTH - width) // 2, bottom + ROW + 4),
           GRAY)


def _draw_legend(canvas: np.ndarray, corner: Tuple[int, int]) -> None:
    """Show what the forms of the bars mean."""
    x, y = corner
    for state, text in LEGEND:
        _draw_state(canvas, state, x, x + 2 * ROW, y + ROW // 2 - 2, GRAY)
        _write(canvas, text, (x + 2 * ROW + 6, y))
        x += 2 * ROW + 6 + text_size(text, FONT_SIZE)[0] + 2 * MARGIN


def _draw_state(canvas: np.ndarray, state: str, start: int, stop: int,
                middle: int, color: Color) -> None:
    """Draw a run of frames from x = start to stop."""
    if state == MISSED:
        for x in range(start + 1, stop, DOT):
            cv2.rectangle(canvas, (x, middle - 1), (x + 1, middle), EDGE,
                          cv2.FILLED)
        return
    height = BAR if state == DETECTED else LOW_BAR
    stop = max(stop, start + MIN_LENGTH)
    bar = canvas[middle - height // 2:middle - height // 2 + height,
                 start:stop]
    bar[:] = color
    if state == RECOVERED:
        y, x = np.indices(bar.shape[:2])
        bar[(x + y) % HATCH < HATCH // 2] = 255
    bar[0], bar[-1], bar[:, 0], bar[:, -1] = EDGE, EDGE, EDGE, EDGE


def _write(canvas: np.ndarray,
           text: str,
           corner: Tuple[int, int],
           color: Color = BLACK) -> None:
    """Write in the size of all text of the picture."""
    draw_text(canvas, text, corner, FONT_SIZE, color)
