# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A part of a source, with fewer or smaller frames."""
import math
import re
from contextlib import closing
from functools import partial
from typing import Iterator, Optional, Union

import cv2
import numpy as np

from .frame_source import FrameSource, LazyFrame, LazyFrames, TimedFrame

Position = Union[int, float, str]

# Seconds; times that are given to the millisecond find their frame.
TIME_TOLERANCE = 5e-4


class ClippedSource(FrameSource):
    """A part of another source, with fewer or smaller frames.

    Times stay those of the other source. For live sources, start and end
    count from the connection.

    Args:
        source (:obj:`FrameSource`): The frames.
        start (int | float | str, optional): First frame, see
            :func:`parse_position`. Defaults to None, the first one.
        end (int | float | str, optional): End, exclusive. Defaults to None,
            all frames.
        stride (int): Take every n-th frame. Of a live source that drops
            frames the next one at least n frames later. Defaults to 1.
        max_size (int, optional): Pixels; larger frames are scaled so that
            this is their longer side. Defaults to None.

    Raises:
        ValueError: If an argument is out of its range. Iterating raises it
            where no frame lies between start and end.
    """

    def __init__(self,
                 source: FrameSource,
                 start: Optional[Position] = None,
                 end: Optional[Position] = None,
                 stride: int = 1,
                 max_size: Optional[int] = None) -> None:
        self.start = parse_position(0 if start is None else start, 'start')
        self.end = None if end is None else parse_position(end, 'end')
        if type(self.start) is type(self.end) and self.start >= self.end:
            raise ValueError(f'start must lie before end, got start {start} '
                             f'and end {end}')
        _check_positive(stride, 'stride')
        if max_size is not None:
            _check_positive(max_size, 'max_size')
        self.source = source
        self.stride = stride
        self.max_size = max_size
        self.name = source.name
        self.live = source.live
        self.fps = source.fps / stride
        self.num_frames = self._expected()
        self.settings = dict(
            source.settings,
            start=self.start,
            end=self.end,
            stride=stride,
            max_size=max_size)

    @property
    def num_dropped(self) -> int:  # type: ignore[override]
        """Frames that the live source dropped."""
        return self.source.num_dropped

    def __iter__(self) -> Iterator[TimedFrame]:
        """See :meth:`FrameSource.__iter__`."""
        return (frame.timed() for frame in self.scan())

    def scan(self) -> LazyFrames:
        """See :meth:`FrameSource.scan`."""
        num_taken, due = 0, 0
        with closing(self.source.scan()) as frames:
            for frame in frames:
                if self.end is not None and _reached(frame, self.end):
                    break
                if not _reached(frame, self.start) or frame.index < due:
                    continue
                yield frame._replace(
                    index=num_taken,
                    load=partial(self._load, frame),
                    number=frame.source_number)
                num_taken += 1
                due = frame.index + self.stride
        if not num_taken:
            raise ValueError(f'{self.name} has no frame between start '
                             f'{self.start} and end {self.end}')

    def close(self) -> None:
        """See :meth:`FrameSource.close`."""
        self.source.close()

    def _load(self, frame: LazyFrame) -> np.ndarray:
        """The image of a frame in the size that is wanted."""
        return shrink(frame.load(), self.max_size)

    def _index(self, position: Union[int, float]) -> int:
        """Index of the first frame at or behind a position."""
        if isinstance(position, int):
            return position
        return math.ceil((position - TIME_TOLERANCE) * self.source.fps)

    def _expected(self) -> int:
        """Number of frames expected, 0 where it is unknown."""
        if not self.source.regular and any(
                isinstance(position, float)
                for position in (self.start, self.end)):
            return 0
        first = self._index(self.start)
        last = None if self.end is None else self._index(self.end)
        if last is None or 0 < self.source.num_frames < last:
            last = self.source.num_frames
        return max(0, math.ceil((last - first) / self.stride))


def _check_positive(value: int, name: str) -> None:
    """Refuse what is no integer above 0."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f'{name} must be an integer of at least 1, got '
                         f'{value}')


def _reached(frame: LazyFrame, position: Union[int, float]) -> bool:
    """Tell whether a frame is at or behind a position."""
    if isinstance(position, int):
        return frame.index >= position
    return frame.time >= position - TIME_TOLERANCE


def parse_position(value: Position, name: str) -> Union[int, float]:
    """Read a place in a video: a frame or a time.

    Args:
        value (int | float | str): An integer (``120``, ``'120'``) is the
            index of a frame, from 0. All others are times: ``12.5``,
            ``'12.5'``, ``'12s'``, ``'1:02'`` (minutes and seconds),
            ``'00:01:02.5'``.
        name (str): Name of the argument for messages.

    Returns:
        int | float: Index of a frame, or seconds.

    Raises:
        ValueError: If it is none of them, or negative.
    """
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r'\d+', text):
            return int(text)
        match = re.fullmatch(r'(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)s?', text)
        if match:
            hours, minutes, seconds = (
                float(part or 0) for part in match.groups())
            clock = match[2] is not None
            time = 3600 * hours + 60 * minutes + seconds
            if time < math.inf and not (clock and seconds >= 60
                                        or match[1] and minutes >= 60):
                return time
    elif isinstance(value, int) and not isinstance(value, bool):
        if value >= 0:
            return value
    elif isinstance(value, float) and 0 <= value < math.inf:
        return value
    raise ValueError(
        f'{name} must be a frame (120) or a time (12.5s, 1:02, 00:01:02.5), '
        f'got {value!r}')


def shrink(image: np.ndarray, max_size: Optional[int]) -> np.ndarray:
    """Scale an image down so that its longer side has at most some pixels.

    Args:
        image (np.ndarray): Has shape (H, W, 3), uint8.
        max_size (int, optional): Pixels; None for any size.

    Returns:
        np.ndarray: The image; the same one if it is small enough.
    """
    height, width = image.shape[:2]
    if max_size is None or max(height, width) <= max_size:
        return image
    scale = max_size / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
