# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How far a fleet is, in one line."""
import sys
import time
from datetime import timedelta
from typing import Optional, TextIO

TERMINAL_EVERY, LOG_EVERY = 0.5, 30.  # seconds between two lines


class FleetProgress:
    """Shows videos, frames per second and the time that is left.

    The time is that of the frames that are left, as many a video as the
    finished ones had, at the speed of this run. On a terminal the line
    changes in place; in a log a new one comes now and then.

    Args:
        file (TextIO, optional): Where it is shown. Defaults to None, the
            error stream.
    """

    def __init__(self, file: Optional[TextIO] = None) -> None:
        self.file = sys.stderr if file is None else file
        self.num_videos = self.num_skipped = 0
        self.num_done = self.num_failed = 0
        self.num_frames = 0
        self._frames_of_done = 0
        self._begin = self._shown = time.monotonic()
        self._every = TERMINAL_EVERY if self.file.isatty() else LOG_EVERY
        self._end = '\r' if self.file.isatty() else '\n'

    def start(self, num_videos: int, num_skipped: int) -> None:
        """Begin.

        Args:
            num_videos (int): Videos of the run.
            num_skipped (int): Those that were finished before.
        """
        self.num_videos, self.num_skipped = num_videos, num_skipped
        self._begin = time.monotonic()

    def add_frames(self, number: int) -> None:
        """Count frames that were taken."""
        self.num_frames += number

    def add_video(self, num_frames: Optional[int]) -> None:
        """Count a video that is through.

        Args:
            num_frames (int, optional): Its frames; None if it has no result.
        """
        self.num_done += 1
        self.num_failed += num_frames is None
        self._frames_of_done += num_frames or 0

    def say(self, text: str) -> None:
        """Print a line that stays.

        Args:
            text (str): The line.
        """
        print(text, file=self.file, flush=True)

    def show(self, num_workers: int) -> None:
        """Draw the line if it is time to.

        Args:
            num_workers (int): Workers that are there.
        """
        now = time.monotonic()
        if now - self._shown >= self._every:
            self._shown = now
            print(
                self.line(num_workers, now - self._begin),
                end=self._end,
                file=self.file,
                flush=True)

    def line(self, num_workers: int, seconds: float) -> str:
        """The line.

        Args:
            num_workers (int): Workers that are there.
            seconds (float): Time since the start.

        Returns:
            str: Such as ``videos 12/200, 1 failed, 4 workers, 31.0 frames/s,
            0:02:10 left``.
        """
        speed = self.num_frames / seconds if seconds else 0.
        left = self.num_videos - self.num_skipped - self.num_done
        shown = '?'
        good = self.num_done - self.num_failed
        if good and speed:
            mean = self._frames_of_done / good
            running = max(0, self.num_frames - self._frames_of_done)
            frames = max(0., left * mean - running)
            shown = str(timedelta(seconds=round(frames / speed)))
        failed = f', {self.num_failed} failed' if self.num_failed else ''
        return (f'videos {self.num_skipped + self.num_done}/{self.num_videos}'
                f'{failed}, {num_workers} workers, {speed:.1f} frames/s, '
                f'{shown} left')
