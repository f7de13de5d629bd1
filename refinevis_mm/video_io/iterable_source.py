# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames of any iterable of images."""
from typing import Iterable, Iterator, Sized, Union

import numpy as np

from .frame_source import (DEFAULT_FPS, FrameSource, TimedFrame, check_image,
                           check_size)


class IterableSource(FrameSource):
    """Frames from any iterable, a generator for example.

    An iterator can be read once. What can be iterated again, as a list, can
    be read again.

    Args:
        frames (Iterable): Images of shape (H, W, 3), uint8, BGR, or
            :obj:`TimedFrame` objects, whose times are kept.
        fps (float): Frames per second. Defaults to 10.
    """

    def __init__(self,
                 frames: Iterable[Union[np.ndarray, TimedFrame]],
                 fps: float = DEFAULT_FPS) -> None:
        self.frames = frames
        self.name = type(frames).__name__
        self.num_frames = len(frames) if isinstance(frames, Sized) else 0
        self.fps = fps
        self.settings = dict(input='iterable', fps=fps)
        self._used = False

    def __iter__(self) -> Iterator[TimedFrame]:
        """See :meth:`FrameSource.__iter__`.

        Raises:
            ValueError: If an iterator is read again, or a frame is no image,
                has another size than the first or no later time than the one
                before.
        """
        frames = iter(self.frames)
        if frames is self.frames and self._used:
            raise ValueError(f'the frames of a {self.name} can be read once: '
                             'give a list or an array to read them again')
        self._used = True
        return self._checked(frames)

    def _checked(
        self, frames: Iterator[Union[np.ndarray,
                                     TimedFrame]]) -> Iterator[TimedFrame]:
        """Give every frame a time and check it."""
        shape, last = None, None
        for index, frame in enumerate(frames):
            if not isinstance(frame, TimedFrame):
                frame = TimedFrame(frame, index / self.fps)
            check_image(frame.image, f'frame {index}')
            shape = frame.image.shape if shape is None else shape
            check_size(frame.image, shape, f'frame {index}')
            if last is not None and not frame.time > last:
                raise ValueError('the times of frames must grow, got '
                                 f'{frame.time} s after {last} s')
            last = frame.time
            yield frame
