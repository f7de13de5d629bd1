# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results as one picture of ids per frame."""
import os.path as osp
from typing import Dict, Optional, Sequence

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from refinevis_mm.files import PathLike, whole_folder
from refinevis_mm.structures import FrameInstances
from refinevis_mm.utils.palette import instance_color
from .frame_names import frame_names
from .video_recording import VideoRecording

MAX_PALETTE = 254  # 255 is "unknown" in maps of 8 bits
MAX_PIXEL = 65535  # of 16 bits


def write_id_masks(recording: VideoRecording,
                   folder: PathLike,
                   view: Optional[str] = None,
                   score_thr: float = 0.3,
                   file_names: Optional[Sequence[str]] = None,
                   force: bool = False) -> None:
    """Write a PNG for every frame whose pixels tell the object.

    A pixel is 0 for the background and the track id + 1 for an object; where
    objects overlap, that with the higher final score. As long as the ids
    written are below 254, the maps have 8 bits and a palette, in the colours
    of the overlays: this is the form of DAVIS, where 255 is "unknown". With
    higher ids they are grey pictures of 16 bits. All maps of a folder have
    the same form, and ``id_png_to_youtubevis.py`` reads both.

    The folder appears when all frames are written; one frame is in memory at
    a time.

    Args:
        recording (:obj:`VideoRecording`): The video.
        folder (str | PathLike): The folder to make.
        view (str, optional): Defaults to None, the main view.
        score_thr (float): Least final score of a track, in [0, 1]. Defaults
            to 0.3.
        file_names (Sequence[str], optional): Names of the frames; the maps
            have the same names with ``.png``, without folders. Defaults to
            None, see :func:`frame_names`.
        force (bool): Replace an existing folder. Defaults to False.

    Raises:
        FileExistsError: If ``folder`` exists and ``force`` is False.
        OSError: If it cannot be written.
        ValueError: If there is no such view, the file names do not fit, or
            an id is above 65534.
    """
    stems = frame_names(recording, file_names, stems=True)
    tracks = [
        track for track in recording.tracks(view) if track.score >= score_thr
    ]
    highest = max((track.id + 1 for track in tracks), default=0)
    if highest > MAX_PIXEL:
        raise ValueError(f'ids must be below {MAX_PIXEL} to be written as '
                         f'maps, got {highest - 1}')
    # painted in this order, the last one stays
    values = {
        track.id: track.id + 1
        for track in sorted(tracks, key=lambda track: track.score)
    }
    dtype = np.uint8 if highest <= MAX_PALETTE else np.uint16
    with whole_folder(folder, force) as work:
        for frame_id, _, instances in recording.frames(view):
            image = Image.fromarray(paint(instances, values, dtype))
            if dtype == np.uint8:
                image.putpalette(_palette(highest))
            image.save(osp.join(work, f'{stems[frame_id]}.png'))


def paint(instances: FrameInstances, values: Dict[int, int],
          dtype: type) -> np.ndarray:
    """Paint the masks of a frame.

    Args:
        instances (:obj:`FrameInstances`): The frame.
        values (dict[int, int]): Pixel of each id, in the order in which they
            are painted; the last one stays. Others are left out.
        dtype (type): Of the pixels.

    Returns:
        np.ndarray: Pixels, 0 where there is nothing. Has shape (H, W).
    """
    pixels: np.ndarray = np.zeros(instances.size, dtype)
    masks = dict(zip(instances.ids, instances.masks))
    for track_id, value in values.items():
        if masks.get(track_id) is not None:
            pixels[mask_utils.decode(masks[track_id]) > 0] = value
    return pixels


def _palette(highest: int) -> bytes:
    """Colours of the pixels, as in overlays."""
    colors = [instance_color(i)[::-1] for i in range(highest)]
    return np.array([(0, 0, 0), *colors], np.uint8).tobytes()
