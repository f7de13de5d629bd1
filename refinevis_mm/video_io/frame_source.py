# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What all sources of frames share."""
from abc import ABCMeta, abstractmethod
from itertools import islice
from typing import (Any, Callable, Dict, Generator, Iterator, NamedTuple,
                    Optional, Tuple)

import numpy as np

DEFAULT_FPS = 10.


class TimedFrame(NamedTuple):
    """A frame and its time.

    Attributes:
        image (np.ndarray): Has shape (H, W, 3), uint8, BGR.
        time (float): Seconds from the first frame of the video.
    """

    image: np.ndarray
    time: float


class LazyFrame(NamedTuple):
    """A frame whose image is made on demand.

    Attributes:
        index (int): Number of frames before it in the source. Frames that a
            live source dropped count too.
        time (float): Seconds from the first frame of the video.
        load (Callable): Gives the image of :class:`TimedFrame`.
        number (int, optional): Position in the folder or array, or among
            the decoded frames of a file or stream, also where some before it
            were not taken. Defaults to None, the index.
        name (str, optional): Its image file, relative to the folder of all
            frames. Defaults to None, no file of its own.
    """

    index: int  # type: ignore[assignment]
    time: float
    load: Callable[[], np.ndarray]
    number: Optional[int] = None
    name: Optional[str] = None

    @classmethod
    def loaded(cls, index: int, time: float, image: np.ndarray) -> 'LazyFrame':
        """A frame whose image is there already."""
        return cls(index, time, lambda: image)

    @property
    def source_number(self) -> int:
        """int: :attr:`number`, or the index where that is the same."""
        return self.index if self.number is None else self.number

    def timed(self) -> TimedFrame:
        """Load the frame."""
        return TimedFrame(self.load(), self.time)


LazyFrames = Generator[LazyFrame, None, None]


class FrameSource(metaclass=ABCMeta):
    """Frames of one video, all of one size, with growing times.

    Sources that are not live can be iterated any number of times, unless
    they say otherwise.

    Attributes:
        name (str): What the frames come from, for messages and reports.
        settings (dict): Plain values that tell this source from others.
        num_frames (int): Frames expected, 0 where it is unknown.
        fps (float): Frames per second; the average where they vary.
        regular (bool): The time of each frame is its index divided by
            ``fps``, those left out as damaged counted.
        live (bool): Frames come in real time and cannot be read again.
        num_dropped (int): Frames of a live source left out so far because
            the reader of the source was slower.
    """

    name: str
    settings: Dict[str, Any]
    num_frames: int = 0
    fps: float = DEFAULT_FPS
    regular: bool = False
    live: bool = False
    num_dropped: int = 0

    @abstractmethod
    def __iter__(self) -> Iterator[TimedFrame]:
        """Read the frames from the first one."""

    def scan(self) -> LazyFrames:
        """Go through the frames without making images where that is cheaper.

        The frames of this class are already loaded.

        Yields:
            :obj:`LazyFrame`: The next frame.
        """
        for index, frame in enumerate(self):
            yield LazyFrame.loaded(index, frame.time, frame.image)

    def frames_from(self, index: int) -> Iterator[TimedFrame]:
        """Read the frames from a later one on, to resume a stopped run.

        Args:
            index (int): Number of frames to leave out.

        Returns:
            Iterator[TimedFrame]: The frames from number ``index`` on.

        Raises:
            ValueError: If the source is live, or ``index`` is negative.
        """
        if self.live:
            raise ValueError(f'{self.name} is live: it has no earlier frames '
                             'to start from')
        if index < 0:
            raise ValueError(f'index must not be negative, got {index}')
        return (frame.timed() for frame in islice(self.scan(), index, None))

    def close(self) -> None:
        """Give back a camera or a connection; for others nothing happens."""


def check_image(image: np.ndarray, what: str) -> np.ndarray:
    """Refuse what is no BGR image.

    Args:
        image (np.ndarray): The image.
        what (str): Name of the image in the message.

    Returns:
        np.ndarray: The same image.

    Raises:
        ValueError: If it is no array of shape (H, W, 3) and type uint8, or
            empty.
    """
    if isinstance(image, np.ndarray):
        height, width, channels = (image.shape + (0, 0, 0))[:3]
        if (image.ndim == 3 and channels == 3 and image.dtype == np.uint8
                and height and width):
            return image
        got = f'shape {image.shape} of {image.dtype}'
    else:
        got = type(image).__name__
    raise ValueError(f'{what} must be an array of shape (height, width, 3) '
                     f'of uint8 in BGR order, got {got}')


def check_size(image: np.ndarray, shape: Tuple[int, ...], what: str) -> None:
    """Refuse a frame of another size than the first one.

    Args:
        image (np.ndarray): The frame, of shape (H, W, 3).
        shape (tuple[int, int, int]): Shape of the first frame.
        what (str): Name of the frame in the message.

    Raises:
        ValueError: If the sizes differ.
    """
    if image.shape != shape:
        raise ValueError(f'{what} must be {shape[1]} x {shape[0]} as the '
                         f'first one, got {image.shape[1]} x '
                         f'{image.shape[0]}')
