# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results as a zip of id maps with class and number."""
import io
from typing import Optional, Sequence
from zipfile import ZipFile, ZipInfo

import numpy as np
from PIL import Image

from refinevis_mm.files import PathLike, whole_file
from refinevis_mm.vis_json import MOTS_FACTOR, MOTS_FOLDER, MOTS_LABELS
from .frame_names import frame_names
from .id_masks import MAX_PIXEL, paint
from .plain_text import plain_text
from .video_recording import VideoRecording

FOLDER = f'default/{MOTS_FOLDER}'  # of the subset that CVAT calls so


def write_mots_png(recording: VideoRecording,
                   path: PathLike,
                   view: Optional[str] = None,
                   score_thr: float = 0.3,
                   file_names: Optional[Sequence[str]] = None) -> None:
    """Write a zip in the form that CVAT calls "MOTS PNG 1.0".

    ``default/instances/<frame>.png`` of 16 bits: class * 1000 + track id, 0
    for the background; where objects overlap, that with the higher final
    score. ``default/instances/labels.txt`` names the classes of the tracks
    that are written, which count from 1.

    The file appears when it is complete; one frame is in memory at a time.

    Args:
        recording (:obj:`VideoRecording`): The video.
        path (str | PathLike): The zip, replaced if it exists.
        view (str, optional): Defaults to None, the main view.
        score_thr (float): Least final score of a track, in [0, 1]. Defaults
            to 0.3.
        file_names (Sequence[str], optional): Names of the frames; the maps
            have the same names with ``.png``, without folders. Defaults to
            None, see :func:`frame_names`.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there is no such view, the file names do not fit, an id
            is above 999, or there are more than 64 classes.
    """
    stems = frame_names(recording, file_names, stems=True)
    tracks = sorted(
        (track
         for track in recording.tracks(view) if track.score >= score_thr),
        key=lambda track: track.score)
    labels = sorted({track.label for track in tracks})
    highest = max((track.id for track in tracks), default=0)
    if highest >= MOTS_FACTOR:
        raise ValueError(f'ids must be below {MOTS_FACTOR} to be written as '
                         f'MOTS, got {highest}')
    if (len(labels) + 1) * MOTS_FACTOR > MAX_PIXEL:
        raise ValueError(
            f'there must be at most {MAX_PIXEL // MOTS_FACTOR - 1}'
            f' classes to be written as MOTS, got {len(labels)}')
    values = {
        track.id: (labels.index(track.label) + 1) * MOTS_FACTOR + track.id
        for track in tracks
    }
    names = {track.label: plain_text(track.name) for track in tracks}
    with whole_file(path) as part, ZipFile(part, 'w') as archive:
        text = ''.join(f'{names[label]}\n' for label in labels)
        archive.writestr(ZipInfo(f'{FOLDER}/{MOTS_LABELS}'), text)
        for frame_id, _, instances in recording.frames(view):
            buffer = io.BytesIO()
            Image.fromarray(paint(instances, values,
                                  np.uint16)).save(buffer, 'PNG')
            archive.writestr(
                ZipInfo(f'{FOLDER}/{stems[frame_id]}.png'), buffer.getvalue())
