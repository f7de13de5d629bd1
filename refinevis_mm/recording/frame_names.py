# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""File names of the frames of a recording."""
from typing import List, Optional, Sequence

from .video_recording import VideoRecording


def frame_names(recording: VideoRecording,
                file_names: Optional[Sequence[str]] = None) -> List[str]:
    """File names of the frames.

    Args:
        recording (:obj:`VideoRecording`): The video.
        file_names (Sequence[str], optional): Names of its frames, where it
            was made of files. Defaults to None: 000000.jpg, 000001.jpg...

    Returns:
        list[str]: A name for each frame.

    Raises:
        ValueError: If their number is not that of the frames, or one comes
            twice.
    """
    if file_names is None:
        return [f'{i:06d}.jpg' for i in range(recording.num_frames)]
    names = list(file_names)
    if len(names) != recording.num_frames or len(set(names)) < len(names):
        raise ValueError(f'file_names must be {recording.num_frames} different'
                         f' names, one for each frame, got {len(names)}, '
                         f'{len(set(names))} of them different')
    return names
