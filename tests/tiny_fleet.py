# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A tiny model, tiny videos and workers that die, for the tests of fleets."""
import filecmp
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, Dict, List

import cv2

from refinevis_mm.fleet import (Engine, Event, FleetSettings, Kind,
                                LocalEngine, RayEngine, SerialEngine,
                                VideoUnit, prepare_settings)
from tests.tiny_files import random_frames, write_model_files

# whole and the same whatever died; without the table also without pyarrow
PLAIN_OUTPUTS = ('results', 'csv')


def write_clips(folder: Path, number: int, num_frames: int = 6) -> None:
    """Write folders of frames, each a video.

    Args:
        folder (Path): Gets the folders ``clip000`` and so on.
        number (int): How many.
        num_frames (int): Frames of the first one; those after it have up to
            3 more.
    """
    for index in range(number):
        clip = folder / f'clip{index:03d}'
        clip.mkdir(parents=True)
        frames = random_frames(num_frames + index % 4, seed=index)
        for number, frame in enumerate(frames):
            cv2.imwrite(str(clip / f'{number}.png'), frame)


def tiny_settings(folder: Path, out: Any, **options: Any) -> FleetSettings:
    """Settings of a tiny model, whose files are written once."""
    files = folder / 'tiny.py', folder / 'tiny.pth'
    if not files[1].exists():
        write_model_files(folder)
    options = dict(dict(outputs=PLAIN_OUTPUTS, checkpoint_every=2), **options)
    return prepare_settings(str(files[0]), str(files[1]), str(out), **options)


def make_engine(name: str, settings: FleetSettings) -> Engine:
    """An engine with two workers, or the serial one."""
    if name == 'serial':
        return SerialEngine(settings)
    return (LocalEngine if name == 'local' else RayEngine)(settings, 2)


def differences(folder: Path, other: Path) -> List[str]:
    """Files that only one of two folders has, or that differ in a byte."""
    names = [{
        path.relative_to(root).as_posix()
        for path in root.rglob('*') if path.is_file()
    } for root in (folder, other)]
    _, differ, broken = filecmp.cmpfiles(folder, other, names[0] & names[1],
                                         False)
    return sorted((names[0] ^ names[1]) | set(differ) | set(broken))


class KillingEngine:
    """An engine whose workers are killed at random while they run a video.

    Not more than two die of one video, for the third would be its failure.

    Args:
        engine (:obj:`LocalEngine` | :obj:`RayEngine`): The engine.
        kills (int): How many at most.
        chance (float): That one is killed soon after a video begins.
        seed (int): Of the random moments.
    """

    def __init__(self,
                 engine: Any,
                 kills: int,
                 chance: float = 1.,
                 seed: int = 0) -> None:
        self.engine = engine
        self.max_workers = engine.max_workers
        self.kills_left = kills
        self.chance = chance
        self.killed: List[str] = []  # names of videos
        self._rng = random.Random(seed)
        self._running: Dict[int, VideoUnit] = {}
        self._pids: Dict[int, int] = {}
        self._kill_at = float('inf')

    def start(self, worker: int) -> None:
        self._pids.pop(worker, None)
        self.engine.start(worker)

    def assign(self, worker: int, unit: VideoUnit) -> None:
        self.engine.assign(worker, unit)
        self._running[worker] = unit
        if self.kills_left and self._rng.random() < self.chance:
            self._kill_at = time.monotonic() + self._rng.uniform(0, 0.5)

    def wait(self, seconds: float) -> List[Event]:
        events = self.engine.wait(min(seconds, 0.02))
        for worker, kind, value in events:
            if kind is Kind.READY:
                self._pids[worker] = self._pid(worker)
            elif kind in (Kind.DONE, Kind.DIED):
                self._running.pop(worker, None)
        if time.monotonic() >= self._kill_at:
            self._kill_at = float('inf')
            self._kill()
        return events

    def _kill(self) -> None:
        """Kill a worker that runs a video, if there is one."""
        workers = [
            worker for worker in sorted(self._running)
            if self.killed.count(self._running[worker].name) < 2
        ]
        if workers and self.kills_left:
            worker = self._rng.choice(workers)
            self.killed.append(self._running.pop(worker).name)
            self.kills_left -= 1
            os.kill(self._pids.pop(worker), signal.SIGKILL)

    def close(self) -> None:
        self.engine.close()

    def _pid(self, worker: int) -> int:
        """Process of a worker."""
        if isinstance(self.engine, LocalEngine):
            return self.engine.workers[worker].process.pid
        import ray
        actor = self.engine.workers[worker]
        return ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
