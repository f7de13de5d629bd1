# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tracks as a table, for spreadsheets."""
import csv
from typing import Optional

from refinevis_mm.files import PathLike, whole_file
from .plain_text import plain_text
from .track_rows import track_rows
from .video_recording import VideoRecording

COLUMNS = ('frame', 'time_s', 'track_id', 'class', 'score', 'frame_score',
           'state', 'x', 'y', 'width', 'height', 'area_px', 'source_frame')
DIGITS = 6  # after the point, of times and scores
FORMULA = ('=', '+', '-', '@')  # so begins what spreadsheets compute


def write_tracks_csv(recording: VideoRecording,
                     path: PathLike,
                     view: Optional[str] = None,
                     score_thr: float = 0.) -> None:
    """Write a row for every track and frame in which it was followed.

    Columns, in this order, named by the first line:

    - ``frame``: from 0; ``time_s``: seconds since the first frame of the
      video.
    - ``track_id``, ``class``, ``score``: the track, its class and score after
      the last frame, the same in all of its rows. A name that begins as a
      formula has ``'`` before it, so that no spreadsheet runs it; line breaks
      and the like in it are spaces.
    - ``frame_score``: running score when the frame was there, of the class
      that was the best then.
    - ``state``: ``detected``, ``recovered`` (by refinement, the frame model
      missed it) or ``missed``.
    - ``x``, ``y`` (left upper corner), ``width``, ``height``: box around the
      mask, in pixels; ``area_px``: pixels of the mask. Empty without a mask.
    - ``source_frame``: position of the frame in the video, from 0; another
      one than ``frame`` where frames were left out.

    The rows are in the order of the frames. The file (UTF-8, commas) appears
    when it is complete; one frame is in memory at a time.

    Args:
        recording (:obj:`VideoRecording`): The video.
        path (str | PathLike): The file, replaced if it exists.
        view (str, optional): Defaults to None, the main view.
        score_thr (float): Least ``score`` of a track, in [0, 1]. Defaults to
            0.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there is no such view.
    """
    with whole_file(path) as part, open(
            part, 'w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for row in track_rows(recording, view, score_thr):
            track, area = row.track, '' if row.area is None else row.area
            writer.writerow([
                row.frame,
                round(row.time, DIGITS), track.id,
                _as_text(track.name),
                round(track.score, DIGITS),
                round(row.frame_score, DIGITS), row.state,
                *(row.box or ('', ) * 4), area, row.source_frame
            ])


def _as_text(name: str) -> str:
    """A name as one line that is no formula."""
    text = plain_text(name)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text
