# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Workers that exist on paper: a discrete-event simulation of a fleet."""
import heapq
import io
import math
import random
from dataclasses import dataclass
from itertools import count
from typing import Any, Dict, List, Sequence, Tuple

import refinevis_mm
from .engine import Event, Kind
from .fleet_loop import FleetLoop
from .progress import FleetProgress
from .video_unit import VideoUnit
from .worker import VideoReport


@dataclass
class FleetCosts:
    """What a fleet takes, in seconds and bytes.

    Attributes:
        start (float): Seconds of a worker until it has a model.
        videos (Sequence[float]): Seconds of a worker for each video.
        driver (float): Seconds of the one driver for each video that it
            hands out, one after the other.
        num_bytes (float): Bytes of a video that go through the storage.
        bandwidth (float): Bytes per second of the storage, for all workers
            together. Defaults to inf.
        lifetime (float): Mean seconds until a worker dies, whatever it does.
            Defaults to inf.
        checkpoint (float): Seconds of work between two checkpoints. Defaults
            to inf, none.
    """

    start: float
    videos: Sequence[float]
    driver: float
    num_bytes: float = 0.
    bandwidth: float = math.inf
    lifetime: float = math.inf
    checkpoint: float = math.inf


@dataclass
class SimulatedFleet:
    """What became of a simulated fleet.

    Attributes:
        seconds (float): From the first start to the last report.
        efficiency (float): Seconds of all videos, divided by ``seconds`` and
            the number of workers.
        driver (float): Share of the time in which the driver was busy.
        storage (float): Share of the time in which the storage was busy.
        num_deaths (int): Workers that died while they ran a video.
        num_failed (int): Videos of which three workers died in a row.
    """

    seconds: float
    efficiency: float
    driver: float
    storage: float
    num_deaths: int
    num_failed: int


class SimulatedEngine:
    """An engine with a clock of its own.

    The driver and the storage serve one video at a time, in the order in
    which they are asked. A worker dies at a random moment, exponentially
    distributed; its video goes on elsewhere at the last checkpoint, but comes
    through the storage again. A frame of this engine is what lies between two
    checkpoints.

    Args:
        costs (:obj:`FleetCosts`): What everything takes; video ``i`` must be
            called ``str(i)``.
        max_workers (int): Number of workers.
        seed (int): Of the deaths. Defaults to 0.
    """

    def __init__(self,
                 costs: FleetCosts,
                 max_workers: int,
                 seed: int = 0) -> None:
        self.costs = costs
        self.max_workers = max_workers
        self.now = 0.
        self.driver_busy = self.storage_busy = 0.
        self.num_deaths = 0
        self._driver_free = self._storage_free = 0.
        self._left = dict(enumerate(costs.videos))
        self._end_of: Dict[int, float] = {}  # of workers
        self._rng = random.Random(seed)
        self._queue: List[Tuple[float, int, Event]] = []
        self._number = count()

    def start(self, worker: int) -> None:
        """See :meth:`Engine.start`."""
        ready = self.now + self.costs.start
        self._end_of[worker] = math.inf
        if self.costs.lifetime < math.inf:
            self._end_of[worker] = ready + self._rng.expovariate(
                1 / self.costs.lifetime)
        self._push(ready, worker, Kind.READY, refinevis_mm.__version__)

    def assign(self, worker: int, unit: VideoUnit) -> None:
        """See :meth:`Engine.assign`."""
        costs, video = self.costs, int(unit.name)
        self._driver_free = max(self.now, self._driver_free) + costs.driver
        transfer = costs.num_bytes / costs.bandwidth
        self._storage_free = transfer + max(self._driver_free,
                                            self._storage_free)
        self.driver_busy += costs.driver
        self.storage_busy += transfer
        begin, death = self._storage_free, self._end_of[worker]
        end = begin + self._left[video]
        if death >= end:
            report = VideoReport(dict(num_frames=1))
            self._push(end, worker, Kind.DONE, report)
            return
        self.num_deaths += 1
        death = max(death, self.now)  # it may have died while it waited
        if costs.checkpoint < math.inf and death > begin:
            done = math.floor((death - begin) / costs.checkpoint)
            self._left[video] -= done * costs.checkpoint
            self._push(death, worker, Kind.FRAMES, done)
        self._push(death, worker, Kind.DIED, 'it died')

    def wait(self, seconds: float) -> List[Event]:
        """See :meth:`Engine.wait`; the clock goes to the next event."""
        self.now, _, event = heapq.heappop(self._queue)
        return [event]

    def close(self) -> None:
        """See :meth:`Engine.close`."""

    def _push(self, time: float, worker: int, kind: Kind, value: Any) -> None:
        """Let something happen later."""
        heapq.heappush(self._queue,
                       (time, next(self._number), Event(worker, kind, value)))


def simulate_fleet(costs: FleetCosts,
                   num_workers: int,
                   seed: int = 0) -> SimulatedFleet:
    """Run the loop of :func:`run_fleet` over workers on paper.

    Args:
        costs (:obj:`FleetCosts`): What everything takes.
        num_workers (int): Workers.
        seed (int): Of the deaths. Defaults to 0.

    Returns:
        :obj:`SimulatedFleet`: How long it took, and why.
    """
    units = [VideoUnit(str(index), '') for index in range(len(costs.videos))]
    engine = SimulatedEngine(costs, num_workers, seed)
    loop = FleetLoop(
        units, engine, FleetProgress(io.StringIO()), checkpoint_every=1)
    loop.process()
    total = sum(costs.videos) / num_workers
    return SimulatedFleet(
        seconds=engine.now,
        efficiency=total / engine.now,
        driver=engine.driver_busy / engine.now,
        storage=engine.storage_busy / engine.now,
        num_deaths=engine.num_deaths,
        num_failed=len(loop.failures))
