# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames that come in real time."""
import logging
import threading
from abc import abstractmethod
from contextlib import closing
from typing import Any, Dict, Iterator, Optional

from mmengine.logging import print_log

from .frame_source import FrameSource, LazyFrame, LazyFrames, TimedFrame

# Seconds to wait for the thread when a source is closed.
CLOSE_WAIT = 1.


class LiveSource(FrameSource):
    """Frames that come in real time.

    A thread receives the frames from the connection on and keeps the newest
    one, so that a slow model gets a fresh frame and does not fall behind.
    The frames in between are dropped and counted. A source that breaks off
    ends with a warning, so that the results so far are kept; one that sends
    nothing raises OSError.

    A subclass opens its connection, calls :meth:`__init__` of this class
    last and implements :meth:`receive`.

    Args:
        name (str): Name of the source.
        settings (dict): See :class:`FrameSource`.
        fps (float): Frames per second.
        timeout (float): Seconds to wait for a frame.
    """

    live = True

    def __init__(self, name: str, settings: Dict[str, Any], fps: float,
                 timeout: float) -> None:
        self.name = name
        self.settings = settings
        self.fps = fps
        self.timeout = timeout
        self._newest: Optional[LazyFrame] = None
        self._reason: Optional[str] = None
        self._error: Optional[Exception] = None
        self._read = False
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._receive_all, name=name, daemon=True)
        self._thread.start()

    @abstractmethod
    def receive(self) -> LazyFrames:
        """Receive frames until the source ends; runs in the thread.

        Yields:
            :obj:`LazyFrame`: The next frame.

        Raises:
            OSError: If the source breaks off.
        """

    def __iter__(self) -> Iterator[TimedFrame]:
        """See :meth:`FrameSource.__iter__`."""
        return (frame.timed() for frame in self.scan())

    def scan(self) -> LazyFrames:
        """See :meth:`FrameSource.scan`.

        Raises:
            ValueError: If the source was read before.
        """
        if self._read:
            raise ValueError(f'{self.name} is live and can be read once')
        self._read = True
        return self._newest_frames()

    def close(self) -> None:
        """Stop the thread, which closes the connection.

        Waits for the frame on its way, at most one second. The thread of a
        source that sends nothing ends by itself after the timeout.
        """
        self._closing.set()
        self._thread.join(CLOSE_WAIT)

    def _newest_frames(self) -> LazyFrames:
        """Take the newest frame again and again."""
        num_taken = 0
        try:
            while (frame := self._take()) is not None:
                num_taken += 1
                yield frame
        finally:
            self.close()
        if self._error is not None:
            raise self._error
        if not num_taken:
            raise OSError(f'{self.name} sent no frame: {self._reason}')
        print_log(
            f'{self.name} ended after {num_taken} frames: {self._reason}',
            logger='current',
            level=logging.WARNING)

    def _take(self) -> Optional[LazyFrame]:
        """Wait for a frame; None after the last one."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._reason is not None,
                self.timeout)
            frame, self._newest = self._newest, None
            if frame is None and self._reason is None:
                self._reason = f'no frame for {self.timeout:g} s'
        return frame

    def _receive_all(self) -> None:
        """Receive frames until the source ends or is closed."""
        reason = 'it is closed'
        try:
            with closing(self.receive()) as frames:
                for frame in frames:
                    if self._closing.is_set():
                        break
                    self._put(frame)
        except OSError as error:
            reason = str(error)
        except Exception as error:
            self._error = error
        with self._changed:
            self._reason = self._reason or reason
            self._changed.notify_all()

    def _put(self, frame: LazyFrame) -> None:
        """Keep a frame as the newest one."""
        with self._changed:
            self.num_dropped += self._newest is not None
            self._newest = frame
            self._changed.notify_all()
