# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What workers and videos cost, measured at any engine."""
import time
from typing import Dict, List, Optional, Tuple

from .engine import Engine, Event, Kind
from .video_unit import VideoUnit


class TimedEngine:
    """An engine with a stopwatch.

    Args:
        engine (:obj:`Engine`): The engine.

    Attributes:
        starts (list[float]): Seconds that workers took until they had a
            model.
        videos (list[tuple[int, float]]): Frames of each video that was run,
            and seconds from its assignment to its report.
        driver (float): Seconds of processor time that this process took from
            the first model to the last report.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.max_workers = engine.max_workers
        self.starts: List[float] = []
        self.videos: List[Tuple[int, float]] = []
        self.driver = 0.
        self._since: Dict[int, float] = {}
        self._driver_since: Optional[float] = None

    def start(self, worker: int) -> None:
        """See :meth:`Engine.start`."""
        self._since[worker] = time.perf_counter()
        self.engine.start(worker)

    def assign(self, worker: int, unit: VideoUnit) -> None:
        """See :meth:`Engine.assign`."""
        self._since[worker] = time.perf_counter()
        self.engine.assign(worker, unit)

    def wait(self, seconds: float) -> List[Event]:
        """See :meth:`Engine.wait`."""
        events = self.engine.wait(seconds)
        now = time.perf_counter()
        for worker, kind, value in events:
            if kind is Kind.READY:
                if self._driver_since is None:
                    self._driver_since = time.process_time()
                self.starts.append(now - self._since[worker])
            elif kind is Kind.DONE and value.record is not None:
                self.videos.append(
                    (value.record['num_frames'], now - self._since[worker]))
                self.driver = time.process_time() - (self._driver_since or 0.)
        return events

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        self.engine.close()
