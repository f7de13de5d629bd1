# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Which worker runs which video, and what follows when one dies."""
from collections import Counter, deque
from typing import Deque, Dict, Sequence, Set

import refinevis_mm
from refinevis_mm.storage import StorageError
from .engine import Engine, Event, Kind
from .progress import FleetProgress
from .video_unit import VideoUnit

MAX_DEATHS = 3  # of a video, without a checkpoint between them
MAX_STARTS = 3  # times in a row that a worker may die before it has a model
WAIT = 1.  # seconds


class FleetLoop:
    """The videos and workers of a run, whatever the engine.

    A video whose worker dies goes first to the next worker that is free. It
    fails when three die of it in a row, none of which came to a checkpoint:
    long videos may outlive any number of workers. A worker that dies is
    started anew, unless it dies three times in a row before it has a model.

    Args:
        units (Sequence[:obj:`VideoUnit`]): Videos to run.
        engine (:obj:`Engine`): Where the workers are.
        progress (:obj:`FleetProgress`): Shows how far it is.
        checkpoint_every (int): Frames between checkpoints.

    Attributes:
        records (dict[str, dict]): Of videos that have their results, by name.
        failures (dict[str, dict]): Of those that have none: ``name``,
            ``input`` and ``reason``.
    """

    def __init__(self, units: Sequence[VideoUnit], engine: Engine,
                 progress: FleetProgress, checkpoint_every: int) -> None:
        self.engine = engine
        self.progress = progress
        self.checkpoint_every = checkpoint_every
        self.records: Dict[str, dict] = {}
        self.failures: Dict[str, dict] = {}
        self._queue: Deque[VideoUnit] = deque(units)
        self._running: Dict[int, VideoUnit] = {}
        self._alive: Set[int] = set(range(min(engine.max_workers, len(units))))
        self._ready: Set[int] = set()
        self._taken: Counter = Counter()  # frames of its video, by worker
        self._deaths: Counter = Counter()  # of videos
        self._false_starts: Counter = Counter()  # of workers

    def process(self) -> None:
        """Run until every video has a result or a reason.

        Raises:
            StorageError: If a storage does not answer any more.
            ValueError: If workers cannot start or have another version of
                the package.
        """
        for worker in sorted(self._alive):
            self.engine.start(worker)
        while self._queue or self._running:
            for event in self.engine.wait(WAIT):
                self._handle(event)
            self._dispatch()
            self.progress.show(len(self._ready))

    def _dispatch(self) -> None:
        """Give workers that wait the next videos."""
        for worker in sorted(self._ready - set(self._running)):
            if not self._queue:
                return
            self._running[worker] = self._queue.popleft()
            self._taken[worker] = 0
            self.engine.assign(worker, self._running[worker])

    def _handle(self, event: Event) -> None:
        """Take note of what has happened to a worker."""
        worker, kind, value = event
        if kind is Kind.READY:
            _check_version(value)
            self._ready.add(worker)
            self._false_starts[worker] = 0
        elif kind is Kind.REFUSED:
            self._leave(worker, value)
        elif kind is Kind.FRAMES:
            self.progress.add_frames(value)
            self._taken[worker] += value
        elif kind is Kind.DONE:
            if value.lost:
                raise StorageError(f'{value.reason}; what is finished stays, '
                                   'run again to go on')
            unit = self._running.pop(worker)
            if value.record is None:
                self._fail(unit, value.reason)
            else:
                self.records[unit.name] = value.record
                self.progress.add_video(value.record['num_frames'])
        elif worker in self._alive:  # it has died
            self._replace(worker, value)

    def _replace(self, worker: int, cause: str) -> None:
        """Start a worker anew; its video goes first."""
        unit = self._running.pop(worker, None)
        if worker not in self._ready:
            self._false_starts[worker] += 1
            if self._false_starts[worker] == MAX_STARTS:
                self._leave(worker, cause)
                return
        self._ready.discard(worker)
        if unit is not None:
            self._deaths[unit.name] += 1
            if self._taken[worker] >= self.checkpoint_every:
                self._deaths[unit.name] = 0
            if self._deaths[unit.name] == MAX_DEATHS:
                self._fail(
                    unit, f'{cause}, the last of {MAX_DEATHS} that '
                    'died of this video')
            else:
                self.progress.say(f'{unit.name}: {cause}; another one goes on')
                self._queue.appendleft(unit)
        self.engine.start(worker)

    def _leave(self, worker: int, reason: str) -> None:
        """Go on without a worker that cannot start, if there are others."""
        self._alive.discard(worker)
        self._ready.discard(worker)
        if not self._alive:
            raise ValueError(f'workers cannot start: {reason}')
        self.progress.say(f'a worker cannot start: {reason}')

    def _fail(self, unit: VideoUnit, reason: str) -> None:
        """A video has no result."""
        self.failures[unit.name] = dict(
            name=unit.name, input=unit.input, reason=reason)
        self.progress.add_video(None)
        self.progress.say(f'{unit.name}: {reason}')


def _check_version(version: str) -> None:
    """Refuse workers of another version of this package."""
    if version != refinevis_mm.__version__:
        raise ValueError(
            f'all machines must have refinevis_mm {refinevis_mm.__version__}, '
            f'as this one has, got a worker with {version}')
