# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Videos that play in a browser."""
from fractions import Fraction
from pathlib import Path
from typing import List, Optional, Tuple, Union

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from .frame_source import check_image
from .mp4_file import TICKS, Mp4File

MAX_SIZE = 16384  # of H.264 in libx264
X264_OPTIONS = dict(preset='veryfast', crf='20', bf='0')


class H264Writer:
    """Writes an H.264 mp4 file that plays in browsers.

    Pixels are stored as yuv420p with the index in front. That format has
    even sizes only: a frame of odd width or height is padded by repeating
    its last column or row. There are no B-frames, so that files can be
    joined by :func:`concat_videos`.

    The file appears under its name when it is closed. An unfinished one is
    called ``<path>.partial``, and is deleted by :meth:`discard` or when the
    ``with`` block of the writer raises.

    Args:
        path (str | Path): The file.
        fps (float): Frames per second, for frames without times and for the
            length of the last frame.
        size (tuple[int, int]): Width and height of the frames in pixels.

    Raises:
        OSError: If the file cannot be written.
        RuntimeError: If PyAV comes without the encoder libx264.
        ValueError: If ``fps`` is not positive or above 90000, or the size is
            not possible.
    """

    def __init__(self, path: Union[str, Path], fps: float,
                 size: Tuple[int, int]) -> None:
        if not 1 / TICKS <= fps <= TICKS:
            raise ValueError(f'fps must be positive, at most {TICKS}, got '
                             f'{fps}')
        if not 1 <= min(size) <= max(size) <= MAX_SIZE:
            raise ValueError(f'frames must have 1 to {MAX_SIZE} pixels per '
                             f'side, got {size[0]} x {size[1]}')
        self.path = str(path)
        self.fps = fps
        self.size = size
        self.num_frames = 0
        self._first: Optional[int] = None
        self._last: Optional[int] = None
        self._timed: Optional[bool] = None
        self._reformatter = VideoReformatter()
        _check_encoder()
        self._file = Mp4File(path)
        self._stream = self._add_stream()

    def write(self, image: np.ndarray, time: Optional[float] = None) -> None:
        """Append a frame.

        Args:
            image (np.ndarray): Has shape (height, width, 3), uint8, BGR.
            time (float, optional): Its time in seconds. Only the distance to
                the first frame's time shows when the video is played. All
                frames have a time or none has. Defaults to None.

        Raises:
            OSError: If the disk is full.
            ValueError: If it is no such image, the time is not larger than
                the last one, or only some frames have one.
        """
        check_image(image, 'a frame')
        if image.shape[1::-1] != tuple(self.size):
            raise ValueError(
                f'frames must be {self.size[0]} x {self.size[1]}, got '
                f'{image.shape[1]} x {image.shape[0]}')
        pts = self._next_pts(time)
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(_pad_even(image), format='bgr24'),
            format='yuv420p',
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG)
        frame.pts = pts
        frame.time_base = Fraction(1, TICKS)
        self._file.mux(self._encode(frame))
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: If the file does not hold all frames: the disk is full.
            ValueError: If there was no frame.
        """
        if not self.num_frames:
            self.discard()
            raise ValueError(f'video "{self.path}" has no frame')
        self._file.mux(self._encode(None))
        self._file.close()

    def discard(self) -> None:
        """Delete the unfinished file."""
        self._file.discard()

    def __enter__(self) -> 'H264Writer':
        return self

    def __exit__(self, kind: Optional[type], *_) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _add_stream(self) -> av.VideoStream:
        """Set up the encoder."""
        width, height = self.size
        stream = self._file.container.add_stream(
            'libx264', rate=Fraction(self.fps).limit_denominator(1001))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = 'yuv420p'
        stream.time_base = Fraction(1, TICKS)
        codec = stream.codec_context
        codec.time_base = Fraction(1, TICKS)
        codec.options = X264_OPTIONS
        codec.colorspace = Colorspace.ITU601
        codec.color_range = ColorRange.MPEG
        return stream

    def _next_pts(self, time: Optional[float]) -> int:
        """Give the ticks from the first to the next frame."""
        timed = time is not None
        if self._timed not in (None, timed):
            raise ValueError('all frames of a video must have a time, or '
                             'none')
        seconds = self.num_frames / self.fps if time is None else time
        tick = round(seconds * TICKS)
        if self._last is not None and tick <= self._last:
            raise ValueError('the times of frames must grow, got '
                             f'{tick / TICKS:.5f} s after '
                             f'{self._last / TICKS:.5f} s')
        if self._first is None:
            self._first, self._timed = tick, timed
            if timed:
                self._file.set_start(tick)
        self._last = tick
        return tick - self._first

    def _encode(self, frame: Optional[av.VideoFrame]) -> List[av.Packet]:
        """Encode a frame, or with None give the frames that are left."""
        packets = self._stream.encode(frame)
        for packet in packets:
            packet.duration = round(TICKS / self.fps)
        return packets


def _check_encoder() -> None:
    """Raise where PyAV cannot encode H.264."""
    try:
        av.Codec('libx264', 'w')
    except ValueError as error:
        raise RuntimeError('this PyAV has no libx264 and cannot write H.264: '
                           'install its wheel (pip install '
                           '--force-reinstall av)') from error


def _pad_even(image: np.ndarray) -> np.ndarray:
    """Repeat the last column and row of images of odd size."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        return cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2,
                                  cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(image)
