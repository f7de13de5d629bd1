# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One worker in this process."""
from collections import deque
from typing import Deque, List, Optional

from refinevis_mm.utils import one_line
from .engine import Event, Kind
from .video_unit import VideoUnit
from .worker import START_ERRORS, FleetSettings, FleetWorker


class SerialEngine:
    """The engine of a task that is one of several, and of a debugger.

    Args:
        settings (:obj:`FleetSettings`): Model and outputs.
    """

    max_workers = 1

    def __init__(self, settings: FleetSettings) -> None:
        self.settings = settings
        self._worker: Optional[FleetWorker] = None
        self._unit: Optional[VideoUnit] = None
        self._events: Deque[Event] = deque()

    def start(self, worker: int) -> None:
        """See :meth:`Engine.start`."""
        try:
            self._worker = FleetWorker(self.settings)
        except START_ERRORS as error:
            self._events.append(Event(worker, Kind.REFUSED, one_line(error)))
        else:
            self._events.append(
                Event(worker, Kind.READY, self._worker.version))

    def assign(self, worker: int, unit: VideoUnit) -> None:
        """See :meth:`Engine.assign`."""
        self._unit = unit

    def wait(self, seconds: float) -> List[Event]:
        """See :meth:`Engine.wait`; runs a whole video."""
        if self._unit is not None and self._worker is not None:
            unit, self._unit, num_frames = self._unit, None, [0]

            def count() -> None:
                num_frames[0] += 1

            report = self._worker.run(unit, count)
            self._events.append(Event(0, Kind.FRAMES, num_frames[0]))
            self._events.append(Event(0, Kind.DONE, report))
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        self._worker = None
