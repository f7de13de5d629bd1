# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Workers that are processes of this machine."""
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection, wait
from typing import Any, Dict, List, NamedTuple, Optional

import torch

from refinevis_mm.storage import in_this_process
from refinevis_mm.utils import one_line
from .engine import Event, Kind
from .video_unit import VideoUnit
from .worker import START_ERRORS, FleetSettings, FleetWorker, quiet

FRAMES_EVERY = 0.5  # seconds
PATIENCE = 30.  # seconds for a last checkpoint


class _Process(NamedTuple):
    """A worker and the pipe to it."""

    process: Any
    pipe: Connection


class LocalEngine:
    """Workers that are processes of this machine.

    Processes are forked from one that has imported the package and done
    nothing else, where the system can fork; a worker that dies is soon
    replaced.

    Args:
        settings (:obj:`FleetSettings`): Model and outputs. With the device
            'cuda' workers take the GPUs in turn.
        max_workers (int, optional): Workers at most. Defaults to None, as
            many as there are cores, with the device 'cuda' as GPUs.

    Attributes:
        workers (dict[int, tuple]): Process and pipe of each worker.

    Raises:
        ValueError: If there is no worker, or other processes do not see the
            results.
    """

    def __init__(self,
                 settings: FleetSettings,
                 max_workers: Optional[int] = None) -> None:
        if max_workers is None and settings.device == 'cuda':
            max_workers = max(1, torch.cuda.device_count())
        elif max_workers is None:
            max_workers = os.cpu_count() or 1
        if max_workers < 1:
            raise ValueError('max_workers must be positive, got '
                             f'{max_workers}')
        if in_this_process(settings.out):
            raise ValueError(f'"{settings.out}" is the memory of one process, '
                             'which others do not see; use --engine serial')
        self.max_workers = max_workers
        self.settings = settings
        self.workers: Dict[int, _Process] = {}
        methods = multiprocessing.get_all_start_methods()
        method = 'forkserver' if 'forkserver' in methods else 'spawn'
        self._context: Any = multiprocessing.get_context(method)
        if method == 'forkserver':
            self._context.set_forkserver_preload([__name__])

    def start(self, worker: int) -> None:
        """See :meth:`Engine.start`."""
        pipe, other = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(self.settings, worker, other, dict(os.environ)),
            daemon=True)
        process.start()
        other.close()
        self.workers[worker] = _Process(process, pipe)

    def assign(self, worker: int, unit: VideoUnit) -> None:
        """See :meth:`Engine.assign`."""
        try:
            self.workers[worker].pipe.send(unit)
        except OSError:
            pass  # it died while it waited, which `wait` tells

    def wait(self, seconds: float) -> List[Event]:
        """See :meth:`Engine.wait`."""
        ready = set(
            wait([item.pipe for item in self.workers.values()], seconds))
        events = []
        for number, (process, pipe) in list(self.workers.items()):
            if pipe not in ready:
                continue
            try:
                events.append(Event(number, *pipe.recv()))
            except (EOFError, OSError):
                del self.workers[number]
                process.join()
                pipe.close()
                events.append(
                    Event(number, Kind.DIED, _cause(process.exitcode)))
        return events

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        for process, pipe in self.workers.values():
            process.terminate()
        end = time.monotonic() + PATIENCE
        for process, pipe in self.workers.values():
            process.join(max(0., end - time.monotonic()))
            process.kill()
            process.join()
            pipe.close()
        self.workers.clear()


def _serve(settings: FleetSettings, number: int, pipe: Connection,
           environ: Dict[str, str]) -> None:
    """What the process of a worker does.

    The process that it is forked from may be older than some variables of the
    environment, such as the keys of a storage. Ctrl-C reaches all processes
    of a terminal; the fleet ends its workers itself, by SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environ)
    quiet()
    try:
        worker = FleetWorker(settings.on_gpu(number))
    except START_ERRORS as error:
        pipe.send((Kind.REFUSED, one_line(error)))
        return
    pipe.send((Kind.READY, worker.version))
    try:
        while True:
            unit = pipe.recv()
            frames = _Frames(pipe)
            report = worker.run(unit, frames.count)
            frames.send()
            pipe.send((Kind.DONE, report))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # the fleet is gone, or ends


class _Frames:
    """Tells now and then how many frames were taken.

    Args:
        pipe (Connection): To the fleet.
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self._num = 0
        self._told = time.monotonic()

    def count(self) -> None:
        """Count a frame."""
        self._num += 1
        if time.monotonic() - self._told >= FRAMES_EVERY:
            self.send()

    def send(self) -> None:
        """Tell it."""
        try:
            self.pipe.send((Kind.FRAMES, self._num))
        except BrokenPipeError:  # nobody waits for the video any more
            raise KeyboardInterrupt from None
        self._num, self._told = 0, time.monotonic()


def _cause(exitcode: int) -> str:
    """Why a process is gone."""
    if exitcode < 0:
        return f'its worker was killed by {signal.Signals(-exitcode).name}'
    return f'its worker ended with exit code {exitcode}'
