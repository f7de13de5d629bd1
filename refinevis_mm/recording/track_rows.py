# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A recording as rows, one for every track and frame."""
from typing import Iterator, NamedTuple, Optional, Tuple

from pycocotools import mask as mask_utils

from .video_recording import STATES, TrackSummary, VideoRecording


class TrackRow(NamedTuple):
    """A track in a frame in which it was followed.

    Attributes:
        frame (int): The frame, from 0.
        time (float): Seconds since the first frame of the video.
        track (:obj:`TrackSummary`): The track, as it is after the last frame.
        frame_score (float): Running score when the frame was there, of the
            class that was the best then.
        state (str): ``detected``, ``recovered`` or ``missed``.
        box (tuple[int, int, int, int], optional): Left, top, width and height
            of the box around the mask, in pixels; None without a mask.
        area (int, optional): Pixels of the mask.
        mask (dict, optional): Its COCO run-length code.
        source_frame (int): Position of the frame in the video, from 0.
    """

    frame: int
    time: float
    track: TrackSummary
    frame_score: float
    state: str
    box: Optional[Tuple[int, int, int, int]]
    area: Optional[int]
    mask: Optional[dict]
    source_frame: int


def track_rows(recording: VideoRecording,
               view: Optional[str] = None,
               score_thr: float = 0.) -> Iterator[TrackRow]:
    """Go through the rows of a table of tracks.

    Args:
        recording (:obj:`VideoRecording`): The video.
        view (str, optional): Defaults to None, the main view.
        score_thr (float): Least score of a track, in [0, 1]. Defaults to 0.

    Yields:
        :obj:`TrackRow`: In the order of the frames; one frame is in memory at
        a time.

    Raises:
        ValueError: If there is no such view.
    """
    tracks = {
        track.id: track
        for track in recording.tracks(view) if track.score >= score_thr
    }
    numbers = [number for number, _ in recording.origins()]
    for frame, time, instances in recording.frames(view):
        recovered, missed = instances.recovered, instances.missed
        for row, mask in enumerate(instances.masks):
            track = tracks.get(instances.ids[row])
            if track is None:
                continue
            box, area = None, None
            if mask is not None:
                x1, y1, x2, y2 = instances.boxes[row].astype(int).tolist()
                box = x1, y1, x2 - x1, y2 - y1
                area = int(mask_utils.area(mask))
            yield TrackRow(frame, time, track, instances.scores[row],
                           STATES[recovered[row] + 2 * missed[row]], box, area,
                           mask, numbers[frame])
