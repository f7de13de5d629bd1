# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Which worker runs which video, and what becomes of the results."""
import time
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass
from typing import Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple

import refinevis_mm
from refinevis_mm.storage import StorageError
from .engine import Engine, Event, Kind
from .fleet_folder import FleetFolder
from .inputs import share_of
from .progress import FleetProgress
from .video_unit import VideoUnit
from .worker import FleetSettings

MAX_ATTEMPTS = 3  # workers that may die of a video
MAX_STARTS = 3  # times in a row that a worker may die before it has a model
WAIT = 1.  # seconds


@dataclass
class FleetSummary:
    """What a fleet did.

    Attributes:
        num_videos (int): Videos of the run.
        num_skipped (int): Those that were finished before.
        num_frames (int): Frames that this run took.
        seconds (float): Time of the run.
        failures (list[dict]): Videos without a result: ``name``, ``input``
            and ``reason``.
    """

    num_videos: int
    num_skipped: int
    num_frames: int
    seconds: float
    failures: List[dict]


def run_fleet(units: Sequence[VideoUnit],
              settings: FleetSettings,
              make_engine: Callable[[], Engine],
              shard: Optional[Tuple[int, int]] = None,
              progress: Optional[FleetProgress] = None) -> FleetSummary:
    """Give every video its results, each once.

    Videos that are finished in ``settings.out`` are left out. A video whose
    worker dies goes first to the next worker that is free, and goes on at its
    checkpoint; after three dead workers it counts as failed. When all videos
    are through, the manifest, the list of hashes, the list of failures and,
    with the output 'parquet', the table of all tracks are written. They do
    not depend on which worker did what, nor on what died.

    Args:
        units (Sequence[:obj:`VideoUnit`]): The videos.
        settings (:obj:`FleetSettings`): Model and outputs.
        make_engine (Callable): Gives the :obj:`Engine`; not called where
            nothing is left to do.
        shard (tuple[int, int], optional): Position, from 0, and number of
            shares: only the videos of this share are run, and the files of
            all videos are left to a run without it. Defaults to None.
        progress (:obj:`FleetProgress`, optional): Shows how far it is.
            Defaults to None, one on the error stream.

    Returns:
        :obj:`FleetSummary`: With the videos that failed.

    Raises:
        StorageError: If the storage of inputs or results does not answer any
            more. What is finished stays.
        OSError: If the folder is used by another run or cannot be written,
            or workers die before they have a model.
        ValueError: If the folder holds results of other settings, inputs or
            options, or workers cannot start or have another version of the
            package.
        ImportError: If a package that an output needs is not installed.
    """
    begin = time.monotonic()
    folder = FleetFolder(settings.out)
    progress = progress or FleetProgress()
    part = ''
    if shard is not None:
        units = share_of(units, *shard)
        part = f'.share-{shard[0] + 1}-of-{shard[1]}'
    with folder.one_run(part):
        folder.claim(settings.facts())
        records = folder.finished(units)
        left = [unit for unit in units if unit.name not in records]
        progress.start(len(units), len(records))
        num_skipped, failures = len(records), []
        if left:
            with closing(make_engine()) as engine:
                run = _Run(left, engine, progress)
                run.process()
            records.update(run.records)
            failures = list(run.failures.values())
        if shard is None:
            folder.write_summary(
                list(records.values()),
                failures,
                table='parquet' in settings.outputs)
    return FleetSummary(
        len(units), num_skipped, progress.num_frames,
        time.monotonic() - begin, failures)


class _Run:
    """The videos and workers of a run.

    Args:
        units (Sequence[:obj:`VideoUnit`]): Videos to run.
        engine (:obj:`Engine`): Where the workers are.
        progress (:obj:`FleetProgress`): Shows how far it is.
    """

    def __init__(self, units: Sequence[VideoUnit], engine: Engine,
                 progress: FleetProgress) -> None:
        self.engine = engine
        self.progress = progress
        self.records: Dict[str, dict] = {}
        self.failures: Dict[str, dict] = {}
        self._queue: Deque[VideoUnit] = deque(units)
        self._running: Dict[int, VideoUnit] = {}
        self._alive: Set[int] = set(range(min(engine.max_workers, len(units))))
        self._ready: Set[int] = set()
        self._any_ready = False
        self._deaths: Counter = Counter()  # of videos
        self._false_starts: Counter = Counter()  # of workers

    def process(self) -> None:
        """Run until every video has a result or a reason."""
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
            self.engine.assign(worker, self._running[worker])

    def _handle(self, event: Event) -> None:
        """Take note of what has happened to a worker."""
        worker, kind, value = event
        if kind is Kind.READY:
            _check_version(value)
            self._ready.add(worker)
            self._any_ready = True
            self._false_starts[worker] = 0
        elif kind is Kind.REFUSED:
            self._leave(worker, value)
        elif kind is Kind.FRAMES:
            self.progress.add_frames(value)
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
            if self._deaths[unit.name] == MAX_ATTEMPTS:
                self._fail(
                    unit, f'{cause}, the last of {MAX_ATTEMPTS} that '
                    'died of this video')
            else:
                self.progress.say(f'{unit.name}: {cause}; another one goes on')
                self._queue.appendleft(unit)
        self.engine.start(worker)

    def _leave(self, worker: int, reason: str) -> None:
        """Go on without a worker that cannot start, if there are others."""
        self._alive.discard(worker)
        self._ready.discard(worker)
        if not self._any_ready or not self._alive:
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
