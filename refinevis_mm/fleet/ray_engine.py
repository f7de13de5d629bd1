# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Workers that are actors on Ray; the only module that imports it."""
import logging
import socket
import time
from typing import Any, Dict, List, Optional, Tuple

from refinevis_mm.storage import in_this_process
from refinevis_mm.utils import one_line
from .engine import Event, Kind
from .video_unit import VideoUnit
from .worker import (START_ERRORS, FleetSettings, FleetWorker, VideoReport,
                     quiet)

FRAMES_EVERY = 2.  # seconds between two questions to a worker
PATIENCE = 10.  # seconds for an address to answer
INSTALL = 'refinevis_mm[ray]'


class RayEngine:
    """Workers that are actors on Ray.

    Ray places them, on any machine of the cluster with a free core and the
    GPUs that are asked for, and tells when one is lost with its machine. Ray
    is connected to, or started on this machine, unless the caller has done
    it.

    Args:
        settings (:obj:`FleetSettings`): Model and outputs. All machines must
            see its files: a shared disk, or addresses.
        max_workers (int, optional): Workers at most. Defaults to None, as
            many as there are cores in the cluster, or shares of GPUs.
        address (str, optional): Of the cluster, 'auto' for the one that this
            machine belongs to. Defaults to None, Ray is started here.
        num_gpus (float): GPUs of a worker. Defaults to 0.

    Raises:
        ImportError: If Ray is not installed.
        OSError: If there is no such cluster.
        ValueError: If there is no worker, GPUs are asked for that the
            settings do not use or the cluster does not have, the cluster has
            another version of Ray, or other processes do not see the results.
    """

    def __init__(self,
                 settings: FleetSettings,
                 max_workers: Optional[int] = None,
                 address: Optional[str] = None,
                 num_gpus: float = 0.) -> None:
        self.check()
        if in_this_process(settings.out):
            raise ValueError(f'"{settings.out}" is the memory of one process, '
                             'which others do not see; use --engine serial')
        if num_gpus < 0 or num_gpus and not settings.device.startswith('cuda'):
            raise ValueError('num_gpus must not be negative, and needs the '
                             f'device cuda, got {num_gpus:g} and '
                             f'{settings.device}')
        import ray
        self._ray = ray
        self._own = not ray.is_initialized()
        if self._own:
            _connect(address)
        try:
            self.max_workers = self._num_workers(max_workers, num_gpus)
        except ValueError:
            self.close()
            raise
        self._settings = ray.put(settings)
        self._actor = ray.remote(_Actor).options(
            num_cpus=1, num_gpus=num_gpus, max_restarts=0, max_concurrency=2)
        self.workers: Dict[int, Any] = {}
        self._pending: Dict[Any, Tuple[int, str]] = {}
        self._asked = time.monotonic()

    @staticmethod
    def check() -> None:
        """Check that Ray is installed.

        Raises:
            ImportError: If it is not; one line with the command that installs
                it, and what goes without.
        """
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f'the engine ray needs Ray ({error}). Run: pip install '
                f'"{INSTALL}", or use --engine local, which runs the same in '
                'processes of this machine') from error

    def start(self, worker: int) -> None:
        """See :meth:`Engine.start`."""
        self.workers[worker] = self._actor.remote(self._settings)
        self._call(worker, 'prepare')

    def assign(self, worker: int, unit: VideoUnit) -> None:
        """See :meth:`Engine.assign`."""
        self._call(worker, 'run', unit)

    def wait(self, seconds: float) -> List[Event]:
        """See :meth:`Engine.wait`."""
        self._ask_for_frames()
        refs = list(self._pending)
        found, _ = self._ray.wait(refs, timeout=seconds)
        if found:  # and all that is there besides
            found, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        events = []
        for ref in found:
            if ref not in self._pending:  # of an actor that is gone
                continue
            worker, method = self._pending.pop(ref)
            try:
                value = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                self._forget(worker)
                events.append(Event(worker, Kind.DIED, _cause(error)))
                continue
            if method == 'prepare':
                events.append(Event(worker, *value))
            elif method == 'frames':
                events.append(Event(worker, Kind.FRAMES, value))
            else:
                report, num_frames = value
                events.append(Event(worker, Kind.FRAMES, num_frames))
                events.append(Event(worker, Kind.DONE, report))
        return events

    def close(self) -> None:
        """See :meth:`Engine.close`.

        An actor cannot be told to stop: the video that it runs goes on from
        its last checkpoint another time.
        """
        for actor in getattr(self, 'workers', {}).values():
            self._ray.kill(actor)
        if self._own:
            self._ray.shutdown()

    def _call(self, worker: int, method: str, *args: Any) -> None:
        """Start a method of an actor."""
        ref = getattr(self.workers[worker], method).remote(*args)
        self._pending[ref] = worker, method

    def _ask_for_frames(self) -> None:
        """Ask the workers that run a video how far they are."""
        now = time.monotonic()
        if now - self._asked < FRAMES_EVERY:
            return
        self._asked = now
        calls = list(self._pending.values())
        for worker, method in calls:
            if method == 'run' and (worker, 'frames') not in calls:
                self._call(worker, 'frames')

    def _forget(self, worker: int) -> None:
        """Wait no more for an actor."""
        self._ray.kill(self.workers.pop(worker))
        for ref, (number, _) in list(self._pending.items()):
            if number == worker:
                del self._pending[ref]

    def _num_workers(self, max_workers: Optional[int], num_gpus: float) -> int:
        """How many workers there may be."""
        resources = self._ray.cluster_resources()
        if num_gpus and resources.get('GPU', 0) < num_gpus:
            raise ValueError(f'the Ray cluster has {resources.get("GPU", 0):g}'
                             f' GPUs, a worker needs {num_gpus:g}')
        if max_workers is None:
            max_workers = int(resources['GPU'] / num_gpus) if num_gpus else \
                int(resources.get('CPU', 0))
        if max_workers < 1:
            raise ValueError('max_workers must be positive, got '
                             f'{max_workers}')
        return max_workers


class _Actor:
    """A worker where Ray has placed it.

    ``frames`` is answered in a second thread, while ``run`` runs.

    Args:
        settings (:obj:`FleetSettings`): Model and outputs.
    """

    def __init__(self, settings: FleetSettings) -> None:
        self.settings = settings
        self._worker: Optional[FleetWorker] = None
        self._num_frames = self._num_told = 0

    def prepare(self) -> Tuple[Kind, str]:
        """Load the model; what is told of it."""
        quiet()
        try:
            self._worker = FleetWorker(self.settings)
        except START_ERRORS as error:
            return Kind.REFUSED, one_line(error)
        return Kind.READY, self._worker.version

    def run(self, unit: VideoUnit) -> Tuple[VideoReport, int]:
        """Run a video; its report and the frames not told of."""
        assert self._worker is not None
        report = self._worker.run(unit, self._count)
        return report, self.frames()

    def frames(self) -> int:
        """Frames taken since the last time."""
        number = self._num_frames
        new, self._num_told = number - self._num_told, number
        return new

    def _count(self) -> None:
        """Count a frame."""
        self._num_frames += 1


def _connect(address: Optional[str]) -> None:
    """Connect to Ray, or start it."""
    import ray
    where = 'on this machine' if address is None else f'at "{address}"'
    try:
        if address not in (None, 'auto', 'local'):
            _knock(address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if address else False)
    except OSError as error:
        raise OSError(
            f'there is no Ray cluster {where}: {_cause(error)}') from error
    except (RuntimeError, ValueError) as error:
        text = ' '.join(str(error).split())
        raise ValueError(f'Ray {where} cannot be used: {text}') from error


def _knock(address: str) -> None:
    """OSError if nobody listens: Ray itself would ask for minutes."""
    host, _, port = address.split('://')[-1].rpartition(':')
    if not host or not port.isdecimal():
        raise OSError('it must be HOST:PORT, ray://HOST:PORT or auto')
    socket.create_connection((host, int(port)), PATIENCE).close()


def _cause(error: BaseException) -> str:
    """Why an actor is gone, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if 'Error: ' in line]
    return (named or lines or [type(error).__name__])[-1 if named else 0]
