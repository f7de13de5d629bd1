# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames in one array."""
from typing import Iterator

import numpy as np

from .frame_source import (DEFAULT_FPS, FrameSource, LazyFrame, LazyFrames,
                           TimedFrame, check_image)


class ArraySource(FrameSource):
    """Frames of an array.

    Args:
        array (np.ndarray): Has shape (T, H, W, 3), uint8, BGR, T > 0.
        fps (float): Frames per second. Defaults to 10.

    Raises:
        ValueError: If the array is none of that kind.
    """

    regular = True

    def __init__(self, array: np.ndarray, fps: float = DEFAULT_FPS) -> None:
        if array.ndim != 4 or not len(array):
            raise ValueError(
                'a video array must have shape (frames, height, width, 3) '
                f'with at least one frame, got {array.shape}')
        check_image(array[0], 'each frame of a video array')
        self.array = array
        self.name = 'array'
        self.num_frames = len(array)
        self.fps = fps
        self.settings = dict(input='array', shape=list(array.shape), fps=fps)

    def __iter__(self) -> Iterator[TimedFrame]:
        """See :meth:`FrameSource.__iter__`."""
        return self.frames_from(0)

    def scan(self) -> LazyFrames:
        """See :meth:`FrameSource.scan`."""
        for index, image in enumerate(self.array):
            yield LazyFrame.loaded(index, index / self.fps, image)
