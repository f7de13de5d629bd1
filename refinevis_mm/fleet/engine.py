# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What a fleet knows of the place where its workers run."""
import enum
from typing import Any, List, NamedTuple, Protocol

from .video_unit import VideoUnit


class Kind(enum.Enum):
    """What can happen to a worker."""

    READY = 'has its model and waits'  # value: version of the package
    REFUSED = 'cannot start'  # value: the reason
    FRAMES = 'has taken frames'  # value: how many since the last time
    DONE = 'is through with its video'  # value: the VideoReport
    DIED = 'is gone'  # value: the reason


class Event(NamedTuple):
    """Something that happened to a worker.

    Attributes:
        worker (int): Its number.
        kind (:obj:`Kind`): What happened.
        value (Any): See :class:`Kind`.
    """

    worker: int
    kind: Kind
    value: Any


class Engine(Protocol):
    """Starts workers, hands them videos and tells what happens to them.

    A worker is a :class:`FleetWorker` somewhere. Which video goes to which
    worker, and what becomes of the videos of a worker that is gone, is
    decided by :class:`FleetLoop` alone, the same for all engines.

    Attributes:
        max_workers (int): Workers that may be started; their numbers lie
            below.
    """

    max_workers: int

    def start(self, worker: int) -> None:
        """Start a worker, the first time or in the place of one that died.

        ``READY``, ``REFUSED`` or ``DIED`` follows.
        """

    def assign(self, worker: int, unit: VideoUnit) -> None:
        """Give a worker that waits a video; ``DONE`` or ``DIED`` follows."""

    def wait(self, seconds: float) -> List[Event]:
        """Wait until something happens, or for some time."""

    def close(self) -> None:
        """End all workers; those that run a video keep its checkpoint."""
