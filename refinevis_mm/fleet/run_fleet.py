# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From videos to results, with what is finished left out."""
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

from .engine import Engine
from .fleet_folder import FleetFolder
from .fleet_loop import FleetLoop
from .inputs import share_of
from .progress import FleetProgress
from .video_unit import VideoUnit
from .worker import FleetSettings


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
    checkpoint; after three deaths in a row without one it counts as failed.
    When all videos are through, the manifest, the list of hashes, the list of
    failures and, with the output 'parquet', the table of all tracks are
    written. They do not depend on which worker did what, nor on what died.

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
                loop = FleetLoop(left, engine, progress,
                                 settings.checkpoint_every)
                loop.process()
            records.update(loop.records)
            failures = list(loop.failures.values())
        if shard is None:
            folder.write_summary(
                list(records.values()),
                failures,
                table='parquet' in settings.outputs)
    return FleetSummary(
        len(units), num_skipped, progress.num_frames,
        time.monotonic() - begin, failures)
