# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames that are image files."""
import logging
from functools import partial
from typing import Iterator, List, Optional, Sequence, Tuple

import mmcv
import numpy as np
from mmengine.logging import print_log

from .frame_source import (DEFAULT_FPS, FrameSource, LazyFrame, LazyFrames,
                           TimedFrame, check_size)

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


class ImageFilesSource(FrameSource):
    """Frames that are image files.

    Photos are turned as their EXIF orientation says.

    Args:
        paths (Sequence[str]): The files, in order.
        fps (float): Frames per second. Defaults to 10.
        allow_damaged (bool): Leave out files that cannot be read. Defaults
            to False.
        name (str, optional): Name of the source. Defaults to None, the first
            file.

    Raises:
        ValueError: If there is no file. Iterating raises it for a file that
            cannot be read, is cut off or has another size than the first.
    """

    def __init__(self,
                 paths: Sequence[str],
                 fps: float = DEFAULT_FPS,
                 allow_damaged: bool = False,
                 name: Optional[str] = None) -> None:
        if not paths:
            raise ValueError('a video needs at least one frame, got no files')
        self.paths = [str(path) for path in paths]
        self.name = self.paths[0] if name is None else name
        self.num_frames = len(self.paths)
        self.fps = fps
        self.allow_damaged = allow_damaged
        self.settings = dict(
            input=self.name,
            files=[self.paths[0], self.paths[-1],
                   len(self.paths)],
            fps=fps,
            allow_damaged=allow_damaged)

    def __iter__(self) -> Iterator[TimedFrame]:
        """See :meth:`FrameSource.__iter__`."""
        return self.frames_from(0)

    def scan(self) -> LazyFrames:
        """See :meth:`FrameSource.scan`.

        Files are read when the image is loaded. Only where damaged files are
        left out each file must be read to know whether it counts.
        """
        reader = _SameSizeReader()
        if not self.allow_damaged:
            for index, path in enumerate(self.paths):
                yield LazyFrame(index, index / self.fps,
                                partial(reader.read, path))
            return
        num_read = 0
        for index, path in enumerate(self.paths):
            try:
                image = reader.read(path)
            except ValueError as error:
                print_log(str(error), logger='current', level=logging.WARNING)
                continue
            yield LazyFrame.loaded(num_read, index / self.fps, image)
            num_read += 1
        if not num_read:
            raise ValueError(f'none of {len(self.paths)} frames can be read')


class _SameSizeReader:
    """Reads images and refuses those of another size than the first."""

    def __init__(self) -> None:
        self.shape: Optional[Tuple[int, ...]] = None

    def read(self, path: str) -> np.ndarray:
        """Read an image file; see :func:`read_image`."""
        image = read_image(path)
        if self.shape is None:
            self.shape = image.shape
        check_size(image, self.shape, f'frame "{path}"')
        return image


def read_image(path: str) -> np.ndarray:
    """Read an image file, turned as its EXIF orientation says.

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


def image_files(paths: Sequence[str], name: str) -> List[str]:
    """Sort the image files among some paths.

    Args:
        paths (Sequence[str]): Any files.
        name (str): Where they are, for the message.

    Returns:
        list[str]: The image files by name, numbers in the names by value.

    Raises:
        ValueError: If there are none.
    """
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
