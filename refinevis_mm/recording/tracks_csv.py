# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tracks as a table, for spreadsheets."""
import csv
from typing import Iterator, List, Optional, Union

from pycocotools import mask as mask_utils

from refinevis_mm.files import PathLike, whole_file
from refinevis_mm.structures import FrameInstances
from .plain_text import plain_text
from .video_recording import STATES, VideoRecording

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
    tracks = {
        track.id: (track.id, _as_text(track.name), round(track.score, DIGITS))
        for track in recording.tracks(view) if track.score >= score_thr
    }

    numbers = [number for number, _ in recording.origins()]

    with whole_file(path) as part, open(
            part, 'w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for frame_id, time, instances in recording.frames(view):
            for track_id, cells in zip(instances.ids, _cells(instances)):
                if track_id in tracks:
                    writer.writerow([
                        frame_id,
                        round(time, DIGITS), *tracks[track_id], *cells,
                        numbers[frame_id]
                    ])


def _as_text(name: str) -> str:
    """A name as one line that is no formula."""
    text = plain_text(name)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def _cells(instances: FrameInstances) -> Iterator[list]:
    """What a frame says of each instance, from ``frame_score`` on."""
    recovered, missed = instances.recovered, instances.missed
    for row, mask in enumerate(instances.masks):
        state = STATES[recovered[row] + 2 * missed[row]]
        place: List[Union[int, str]] = [''] * 5
        if mask is not None:
            x1, y1, x2, y2 = instances.boxes[row].astype(int).tolist()
            place = [x1, y1, x2 - x1, y2 - y1, int(mask_utils.area(mask))]
        yield [round(instances.scores[row], DIGITS), state, *place]
