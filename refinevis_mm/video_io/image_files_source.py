# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames that are image files."""
import logging
import os.path as osp
from functools import partial
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log

from .frame_source import (DEFAULT_FPS, FrameSource, LazyFrame, LazyFrames,
                           TimedFrame, check_size)
from .image_file import read_image


class ImageFilesSource(FrameSource):
    """Frames that are image files.

    Photos are turned as their EXIF orientation says.

    Args:
        paths (Sequence[str]): The files, in order.
        fps (float): Frames per second. Defaults to 10.
        allow_damaged (bool): Leave out files that cannot be read or have
            another size, with a warning. Defaults to False.
        name (str, optional): Name of the source. Defaults to None, the first
            file.

    Raises:
        ValueError: If there is no file. Iterating raises it for a file that
            cannot be read, is cut off or has another size than the first,
            with ``allow_damaged`` where none can be read.
    """

    regular = True

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
        reader, names = _SameSizeReader(), _short_names(self.paths)
        if not self.allow_damaged:
            for index, path in enumerate(self.paths):
                yield LazyFrame(
                    index,
                    index / self.fps,
                    partial(reader.read, path),
                    name=names[index])
            return
        num_read = 0
        for index, path in enumerate(self.paths):
            try:
                image = reader.read(path)
            except ValueError as error:
                print_log(str(error), logger='current', level=logging.WARNING)
                continue
            frame = LazyFrame.loaded(num_read, index / self.fps, image)
            yield frame._replace(number=index, name=names[index])
            num_read += 1
        if not num_read:
            raise ValueError(f'none of {len(self.paths)} frames can be read')


def _short_names(paths: Sequence[str]) -> List[str]:
    """Names of files relative to the folder that all are in."""
    folders = {osp.dirname(osp.abspath(path)) for path in paths}
    root = osp.commonpath(folders)
    return [Path(osp.relpath(path, root)).as_posix() for path in paths]


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
