# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From a path, an address or an array to a source."""
import glob
import os.path as osp
import re
from pathlib import Path
from typing import Any, Iterable, Optional, Sequence, Union

import numpy as np

from .array_source import ArraySource
from .av_container import TIMEOUT, hide_password, open_container
from .clipped_source import ClippedSource, Position
from .frame_source import DEFAULT_FPS, FrameSource
from .image_file import IMAGE_SUFFIXES, image_files, image_folder
from .image_files_source import ImageFilesSource
from .iterable_source import IterableSource
from .stream_source import StreamSource
from .video_file_source import VideoFileSource
from .webcam_source import WebcamSource

# At these addresses there are files as well as streams.
FILE_SCHEMES = ('http', 'https', 'ftp', 'file')


def open_source(video: Union[str, Path, int, np.ndarray, Sequence[str],
                             Iterable, FrameSource],
                fps: Optional[float] = None,
                start: Optional[Position] = None,
                end: Optional[Position] = None,
                stride: int = 1,
                max_size: Optional[int] = None,
                allow_damaged: bool = False) -> FrameSource:
    """Open anything that has frames.

    Args:
        video (str | Path | int | np.ndarray | list | Iterable): What to
            open: a video file, an image, a folder or glob pattern of images
            (sorted by name, numbers in the names by value), a list of image
            files, the address of a stream or video (``rtsp://...``,
            ``http://...``), a number for a webcam (``0`` or ``'0'``, unless
            there is a file or folder of this name), an array of shape
            (T, H, W, 3), or an iterable of images of shape (H, W, 3), all
            uint8 BGR. A :obj:`FrameSource` is taken as it is.
        fps (float, optional): Frames per second that replace the times of
            a video file; 10 for images by default. Not for a webcam, a
            stream or a :obj:`FrameSource`. Defaults to None.
        start (int | float | str, optional): First frame (``120``) or its
            time (``12.5``, ``'12.5s'``, ``'1:02'``, ``'00:01:02.5'``).
            Defaults to None, the first one.
        end (int | float | str, optional): End, exclusive, in the same
            forms. Defaults to None, the last frame.
        stride (int): Take every n-th frame. Defaults to 1.
        max_size (int, optional): Scale larger frames down so that their
            longer side has this many pixels. Defaults to None.
        allow_damaged (bool): Leave out what cannot be read instead of
            raising. Defaults to False.

    Returns:
        :obj:`FrameSource`: The frames.

    Raises:
        OSError: If there is no such file, camera or stream.
        ValueError: If it holds no frames or has a form that is not read, or
            an option is out of its range or not for it.
    """
    if fps is not None and not 0 < fps < float('inf'):
        raise ValueError(f'fps must be positive, got {fps}')
    source = _open(video, fps, allow_damaged)
    try:
        if (start, end, stride, max_size) == (None, None, 1, None):
            return source
        return ClippedSource(source, start, end, stride, max_size)
    except ValueError:
        source.close()
        raise


def _open(video: Any, fps: Optional[float],
          allow_damaged: bool) -> FrameSource:
    """Open the whole source."""
    if isinstance(video, (str, Path)):
        return _open_path(video, fps, allow_damaged)
    if isinstance(video, FrameSource):
        _refuse_fps(fps, video.name)
        return video
    if isinstance(video, int) and not isinstance(video, bool):
        _refuse_fps(fps, f'webcam {video}')
        return WebcamSource(video)
    if isinstance(video, np.ndarray):
        return ArraySource(video, fps or DEFAULT_FPS)
    if isinstance(video, Sequence) and all(
            isinstance(path, (str, Path)) for path in video):
        return ImageFilesSource(video, fps or DEFAULT_FPS, allow_damaged)
    if isinstance(video, Iterable):
        return IterableSource(video, fps or DEFAULT_FPS)
    raise ValueError(
        'a video must be a path, an address, the number of a webcam, an '
        f'array, or images, got {type(video).__name__}')


def _open_path(video: Union[str, Path], fps: Optional[float],
               allow_damaged: bool) -> FrameSource:
    """Open a file, a folder, a pattern, an address or a webcam."""
    path = str(video)
    image_fps = fps or DEFAULT_FPS
    if osp.isdir(path):
        paths = image_folder(path)
        return ImageFilesSource(paths, image_fps, allow_damaged, path)
    if osp.exists(path):
        if path.lower().endswith(IMAGE_SUFFIXES):
            return ImageFilesSource([path], image_fps, allow_damaged)
        return VideoFileSource(path, fps, allow_damaged)
    if isinstance(video, str):
        if re.match(r'[A-Za-z][A-Za-z0-9+.-]+://', path):
            return _open_address(path, fps, allow_damaged)
        if path.isdecimal():
            return _open(int(path), fps, allow_damaged)
    if glob.has_magic(path):
        # names may have brackets, too
        found = glob.glob(path.replace('[', '[[]')) or glob.glob(path)
        paths = image_files(found, f'pattern "{path}"')
        return ImageFilesSource(paths, image_fps, allow_damaged, path)
    raise FileNotFoundError(f'input "{path}" does not exist')


def _open_address(url: str, fps: Optional[float],
                  allow_damaged: bool) -> FrameSource:
    """Open a stream, or a file at an address: that one has a duration."""
    name = hide_password(url)
    timeout = TIMEOUT, TIMEOUT
    container = open_container(url, name, timeout)
    scheme = url.split(':')[0].lower()
    if scheme in FILE_SCHEMES and container.duration is not None:
        container.close()
        return VideoFileSource(url, fps, allow_damaged, name, timeout)
    try:
        _refuse_fps(fps, name)
    except ValueError:
        container.close()
        raise
    return StreamSource(url, container=container)


def _refuse_fps(fps: Optional[float], name: str) -> None:
    """Refuse other frame times for frames that have their own."""
    if fps is not None:
        raise ValueError(f'fps cannot be given for {name}: its frames have '
                         'their own times (stride takes fewer of them)')
