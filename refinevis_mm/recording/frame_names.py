# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""File names of the frames of a recording."""
import os.path as osp
from typing import List, Optional, Sequence

from .video_recording import VideoRecording


def frame_names(recording: VideoRecording,
                file_names: Optional[Sequence[str]] = None,
                stems: bool = False) -> List[str]:
    """File names of the frames.

    Args:
        recording (:obj:`VideoRecording`): The video.
        file_names (Sequence[str], optional): Names of its frames. Defaults
            to None: those of the image files that it was made of, or the
            positions in the video, 000000.jpg, 000001.jpg...
        stems (bool): Leave out folder and suffix. Defaults to False.

    Returns:
        list[str]: A name for each frame, all different. Where image files
        are called alike, positions take the place of their names.

    Raises:
        ValueError: If the number of ``file_names`` is not that of the frames,
            or one comes twice.
    """
    origins = recording.origins()
    numbers = [f'{number:06d}.jpg' for number, _ in origins]
    if file_names is None:
        names = [name or number for (_, name), number in zip(origins, numbers)]
    else:
        names = list(file_names)
    if stems:
        names, numbers = ([
            osp.splitext(osp.basename(name))[0] for name in side
        ] for side in (names, numbers))
    if file_names is None and len(set(names)) < len(names):
        return numbers
    if len(names) != len(origins) or len(set(names)) < len(names):
        raise ValueError(f'file_names must be {len(origins)} different names, '
                         f'one for each frame, got {len(names)}, '
                         f'{len(set(names))} of them different')
    return names
