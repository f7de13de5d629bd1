# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Videos in and out: files, folders, cameras, H.264."""
from .array_source import ArraySource
from .clipped_source import ClippedSource, parse_position
from .concat_videos import concat_videos
from .frame_source import DEFAULT_FPS, FrameSource, LazyFrame, TimedFrame
from .h264_writer import H264Writer
from .image_file import (decode_image, image_folder, natural_key, read_image,
                         visible_names, write_image)
from .image_files_source import ImageFilesSource
from .iterable_source import IterableSource
from .live_source import LiveSource
from .open_source import open_source
from .stream_source import StreamSource
from .video_file_source import VideoFileSource
from .webcam_source import WebcamSource

__all__ = [
    'ArraySource', 'ClippedSource', 'DEFAULT_FPS', 'FrameSource', 'H264Writer',
    'ImageFilesSource', 'IterableSource', 'LazyFrame', 'LiveSource',
    'StreamSource', 'TimedFrame', 'VideoFileSource', 'WebcamSource',
    'concat_videos', 'decode_image', 'image_folder', 'natural_key',
    'open_source', 'parse_position', 'read_image', 'visible_names',
    'write_image'
]
