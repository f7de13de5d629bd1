# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Transforms for clips."""
from .clip_padding import PadClip
from .filtering import FilterTrackAnnotations
from .frame_sampling import KeyFirstFrameSample
from .image_copy_paste import ImageCopyPaste
from .loading import LoadFrame
from .video_copy_paste import VideoCopyPaste

__all__ = [
    'FilterTrackAnnotations', 'ImageCopyPaste', 'KeyFirstFrameSample',
    'LoadFrame', 'PadClip', 'VideoCopyPaste'
]
