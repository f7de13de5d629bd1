# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames in, pictures and videos out.

Videos are read and written by OpenCV. Its wheels carry no H.264 encoder, so
``.mp4`` files hold MPEG-4 part 2 (``mp4v``), which players show but web
browsers do not.
"""
import glob
import logging
import os
import os.path as osp
import shutil
import tempfile
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import cv2
import mmcv
import numpy as np
from mmengine.logging import print_log

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
# Their headers count the frames; of other files OpenCV estimates the number.
COUNTED_SUFFIXES = ('.mp4', '.m4v', '.mov', '.avi')
DEFAULT_FPS = 10.


class FrameSource(metaclass=ABCMeta):
    """Frames of one video; can be iterated any number of times.

    Every frame is an image of shape (H, W, 3), uint8, BGR, all of one size.

    Attributes:
        num_frames (int): Frames expected, 0 where the file does not tell.
        fps (float): Frames per second.
    """

    num_frames: int
    fps: float

    @abstractmethod
    def __iter__(self) -> Iterator[np.ndarray]:
        """Read the frames from the first one."""


class VideoFileSource(FrameSource):
    """Frames of a video file.

    Args:
        path (str): The file.
        allow_damaged (bool): Accept a video that ends before the number of
            frames in its header. Defaults to False.

    Raises:
        ValueError: If the file is no video or has no frame. Iterating raises
            it when the video ends early.
    """

    def __init__(self, path: str, allow_damaged: bool = False) -> None:
        self.path = path
        self.allow_damaged = allow_damaged
        if osp.getsize(path) == 0:
            raise ValueError(f'video "{path}" is empty (0 bytes)')
        with mmcv.VideoReader(path) as reader:
            if not reader.opened:
                raise ValueError(f'"{path}" cannot be read as a video')
            if reader.read() is None:
                raise ValueError(f'video "{path}" has no readable frame')
            self.num_frames = max(reader.frame_cnt, 0)
            self.fps = reader.fps if reader.fps > 0 else DEFAULT_FPS

    def __iter__(self) -> Iterator[np.ndarray]:
        """See :meth:`FrameSource.__iter__`."""
        num_read = 0
        with mmcv.VideoReader(self.path) as reader:
            while True:
                frame = reader.read()
                if frame is None:
                    break
                yield frame
                num_read += 1
        if num_read >= self.num_frames:
            return
        message = (f'video "{self.path}" is damaged or cut off: it ends at '
                   f'frame {num_read} of {self.num_frames}')
        counted = self.path.lower().endswith(COUNTED_SUFFIXES)
        if counted and not self.allow_damaged:
            raise ValueError(message)
        print_log(message, logger='current', level=logging.WARNING)


class ImageFilesSource(FrameSource):
    """Frames that are image files.

    Args:
        paths (Sequence[str]): The files, in order.
        fps (float): Frames per second. Defaults to 10.
        allow_damaged (bool): Skip files that cannot be read. Defaults to
            False.

    Raises:
        ValueError: If there is no file. Iterating raises it for a file that
            cannot be read, is cut off or has another size than the first.
    """

    def __init__(self,
                 paths: Sequence[str],
                 fps: float = DEFAULT_FPS,
                 allow_damaged: bool = False) -> None:
        if not paths:
            raise ValueError('a video needs at least one frame, got no files')
        self.paths = list(paths)
        self.num_frames = len(self.paths)
        self.fps = fps
        self.allow_damaged = allow_damaged

    def __iter__(self) -> Iterator[np.ndarray]:
        """See :meth:`FrameSource.__iter__`."""
        shape = None
        for path in self.paths:
            try:
                image = read_image(path)
                if shape not in (None, image.shape):
                    raise ValueError(
                        f'frame "{path}" must be {shape[1]} x {shape[0]} as '
                        f'the first one, got {image.shape[1]} x '
                        f'{image.shape[0]}')
            except ValueError as error:
                if not self.allow_damaged:
                    raise
                print_log(str(error), logger='current', level=logging.WARNING)
                continue
            shape = image.shape
            yield image
        if shape is None:
            raise ValueError(f'none of {self.num_frames} frames can be read')


def read_image(path: str) -> np.ndarray:
    """Read an image file.

    Args:
        path (str): The file.

    Returns:
        np.ndarray: Has shape (H, W, 3), uint8, BGR.

    Raises:
        ValueError: If the file cannot be read. Files that are cut off count
            as such; OpenCV would fill them up with grey.
    """
    try:
        with open(path, 'rb') as file:
            return mmcv.imfrombytes(file.read(), backend='pillow')
    except (OSError, ValueError, SyntaxError) as error:
        reason = str(error).splitlines()[0] if str(error) else 'no image'
        if 'cannot identify image file' in reason:
            reason = 'not an image'
        raise ValueError(f'frame "{path}" cannot be read: {reason}') from error


def open_source(path: str,
                fps: Optional[float] = None,
                allow_damaged: bool = False) -> FrameSource:
    """Open a video file, a folder of frames or a glob pattern of frames.

    Args:
        path (str): What to open. Frames are sorted by name, numbers in the
            names by value.
        fps (float, optional): Frames per second that replace the source's
            own. Defaults to None.
        allow_damaged (bool): Leave out what cannot be read instead of
            raising. Defaults to False.

    Returns:
        :obj:`FrameSource`: The frames.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it holds no frames, or ``fps`` is not positive.
    """
    if fps is not None and not fps > 0:
        raise ValueError(f'fps must be positive, got {fps}')
    if osp.isdir(path):
        names = [osp.join(path, name) for name in os.listdir(path)]
        source = ImageFilesSource(
            _image_files(names, f'folder "{path}"'),
            allow_damaged=allow_damaged)
    elif osp.exists(path):
        if path.lower().endswith(IMAGE_SUFFIXES):
            source = ImageFilesSource([path], allow_damaged=allow_damaged)
        else:
            source = VideoFileSource(path, allow_damaged)
    elif glob.has_magic(path):
        source = ImageFilesSource(
            _image_files(glob.glob(path), f'pattern "{path}"'),
            allow_damaged=allow_damaged)
    else:
        raise FileNotFoundError(f'input "{path}" does not exist')
    if fps is not None:
        source.fps = fps
    return source


def _image_files(paths: Sequence[str], name: str) -> List[str]:
    """Sort the image files among some paths; raise if there are none."""
    images = [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        raise ValueError(f'{name} holds no images '
                         f'({", ".join(IMAGE_SUFFIXES)})')
    return sorted(images, key=_natural_key)


def _natural_key(path: str) -> List[Tuple[bool, int, str]]:
    """Sorting key under which frame 2 comes before frame 10."""
    key, digits = [], ''
    for char in path + '\0':
        if char.isdecimal():
            digits += char
            continue
        if digits:
            key.append((False, int(digits), digits))
            digits = ''
        key.append((True, 0, char))
    return key


class VideoSink:
    """Writes an mp4 file, and checks on closing that all of it was written.

    Args:
        path (str | Path): The file, ending in ``.mp4``.
        fps (float): Frames per second.
        size (tuple[int, int]): Width and height of the frames in pixels.

    Raises:
        OSError: If the file cannot be written.
    """

    def __init__(self, path: str, fps: float, size: Tuple[int, int]) -> None:
        self.path = str(path)
        self.num_frames = 0
        self._writer = cv2.VideoWriter(self.path,
                                       cv2.VideoWriter_fourcc(*'mp4v'), fps,
                                       size)
        if not self._writer.isOpened():
            raise OSError(f'video "{self.path}" cannot be written')

    def write(self, image: np.ndarray) -> None:
        """Append a frame of shape (height, width, 3), uint8, BGR."""
        self._writer.write(image)
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file.

        OpenCV reports no errors of writing, so the file is opened again and
        its frames are counted.

        Raises:
            OSError: If the file does not hold all frames.
        """
        self._writer.release()
        with mmcv.VideoReader(self.path) as reader:
            num_found = reader.frame_cnt if reader.opened else 0
        if num_found != self.num_frames:
            raise OSError(
                f'video "{osp.basename(self.path)}" could not be written '
                f'({num_found} of {self.num_frames} frames): the disk may be '
                'full')


def write_image(path: str, image: np.ndarray) -> None:
    """Write a PNG image.

    Args:
        path (str | Path): The file.
        image (np.ndarray): Has shape (H, W, 3), uint8, BGR.

    Raises:
        OSError: If the file cannot be written.
    """
    Path(path).write_bytes(cv2.imencode('.png', image)[1].tobytes())


@contextmanager
def output_folder(out_dir: str) -> Iterator[Path]:
    """Give a folder for new files that appear in ``out_dir`` together.

    The files are moved to their final place when the block ends, and are
    deleted if it raises, so a final name never stands for half a file.

    Args:
        out_dir (str): The folder; made if it does not exist.

    Yields:
        Path: A temporary folder on the same disk.

    Raises:
        OSError: If the folder cannot be made or written.
    """
    try:
        os.makedirs(out_dir, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix='.partial-', dir=out_dir))
    except OSError as error:
        raise OSError(f'out-dir "{out_dir}" cannot be written: '
                      f'{error.strerror}') from error
    try:
        yield partial
        for file in sorted(partial.iterdir()):
            os.replace(file, osp.join(out_dir, file.name))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
