# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames of a webcam."""
import time

import cv2

from .av_container import TIMEOUT
from .frame_source import DEFAULT_FPS, LazyFrame, LazyFrames
from .live_source import LiveSource


class WebcamSource(LiveSource):
    """Frames of a camera of this computer, read by OpenCV.

    Times are those of arrival.

    Args:
        index (int): Number of the camera, from 0.
        timeout (float): Seconds to wait for a frame. Defaults to 10.

    Raises:
        OSError: If the camera cannot be opened.
        ValueError: If the number is negative.
    """

    def __init__(self, index: int, timeout: float = TIMEOUT) -> None:
        if index < 0:
            raise ValueError(f'the number of a webcam must be 0 or more, got '
                             f'{index}')
        level = cv2.getLogLevel()
        cv2.setLogLevel(0)  # OpenCV prints what the error below says
        try:
            self._camera = cv2.VideoCapture(index)
        finally:
            cv2.setLogLevel(level)
        if not self._camera.isOpened():
            self._camera.release()
            raise OSError(f'webcam {index} cannot be opened: it does not '
                          'exist or is in use')
        fps = self._camera.get(cv2.CAP_PROP_FPS)
        super().__init__(f'webcam {index}', dict(input=index),
                         fps if fps > 0 else DEFAULT_FPS, timeout)

    def receive(self) -> LazyFrames:
        """See :meth:`LiveSource.receive`."""
        index, start = 0, None
        try:
            while True:
                found, image = self._camera.read()
                if not found:
                    raise OSError('the camera gives no frame')
                now = time.monotonic()
                start = now if start is None else start
                yield LazyFrame.loaded(index, now - start, image)
                index += 1
        finally:
            self._camera.release()
