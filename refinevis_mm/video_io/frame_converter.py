# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From decoded video frames to upright BGR images."""
from typing import Optional, Tuple

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter


class FrameConverter:
    """Turns the decoded frames of one video into times and images.

    A display matrix (phones write one instead of turning the pixels) is
    applied to the image. A video whose size changes on the way is scaled to
    its first size. Pixels that are not square stay so.

    Args:
        fps (float): Frames per second, for frames without a time.
    """

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self._reformatter = VideoReformatter()
        self._size: Optional[Tuple[int, int]] = None
        self._matrix: Optional[np.ndarray] = None
        self._first_pts: Optional[int] = None
        self._last: Optional[float] = None

    def time(self, frame: av.VideoFrame) -> float:
        """Give the time of the next frame.

        Args:
            frame (av.VideoFrame): The frame. Must be called for all frames
                in order.

        Returns:
            float: Seconds from the first frame. Where the video has no time,
            or one that does not grow, it is one frame after the last time.
        """
        if self._size is None:
            self._size = frame.width, frame.height
            # only once: side data keeps a frame alive until the next gc
            matrix = frame.side_data.get(Type.DISPLAYMATRIX)
            if matrix is not None:
                self._matrix = np.frombuffer(bytes(matrix), np.int32)
        time = None
        if frame.pts is not None:
            if self._first_pts is None:
                self._first_pts = frame.pts
            time = float((frame.pts - self._first_pts) * frame.time_base)
        if self._last is None:
            time = 0.
        elif time is None or time <= self._last:
            time = self._last + 1 / self.fps
        self._last = time
        return time

    def image(self, frame: av.VideoFrame) -> np.ndarray:
        """Make the image of a frame whose time was asked for.

        Args:
            frame (av.VideoFrame): The frame.

        Returns:
            np.ndarray: Has shape (H, W, 3), uint8, BGR.
        """
        assert self._size is not None, 'its time must be asked for first'
        width, height = self._size
        image = self._reformatter.reformat(
            frame, width=width, height=height, format='bgr24').to_ndarray()
        if self._matrix is not None:
            image = orient(image, self._matrix)
        return image


def orient(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn and mirror an image as a display matrix says.

    The matrix (ISO/IEC 14496-12, 8.3.2) maps pixel (x, y) to
    (a x + c y, b x + d y). Angles are taken to the nearest quarter turn.

    Args:
        image (np.ndarray): Has shape (H, W, 3).
        matrix (np.ndarray): Nine numbers a, b, u, c, d, v, x, y, w.

    Returns:
        np.ndarray: The image, of shape (H, W, 3) or (W, H, 3).
    """
    a, b, _, c, d = matrix[:5].tolist()
    if abs(a) >= abs(b):
        flip_x, flip_y = a < 0, d < 0
    else:
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    if flip_x:
        image = image[:, ::-1]
    if flip_y:
        image = image[::-1]
    return np.ascontiguousarray(image)
