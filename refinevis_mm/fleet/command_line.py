# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the tools that run a fleet share."""
import argparse
import signal
import sys
from contextlib import contextmanager, redirect_stdout
from typing import Callable, Iterator, List, Tuple

from refinevis_mm.apis import INTERRUPTED, SOURCE_OPTIONS
from .inputs import read_units
from .run_fleet import FleetSummary, run_fleet
from .serial_engine import SerialEngine
from .video_unit import VideoUnit
from .worker import FleetSettings, prepare_settings, quiet

FAILED = 3  # exit code where videos have no result


def prepare_fleet(args: argparse.Namespace, inputs: str,
                  out: str) -> Tuple[List[VideoUnit], FleetSettings]:
    """Videos and settings of a command line.

    Args:
        args (argparse.Namespace): With the options of
            :func:`add_model_arguments`, :func:`add_source_arguments`,
            :func:`add_inference_arguments`, :func:`add_outputs_argument` and
            :func:`add_run_arguments`.
        inputs (str): See :func:`read_units`.
        out (str): Folder or address of the results.

    Returns:
        tuple[list[:obj:`VideoUnit`], :obj:`FleetSettings`]: For
        :func:`run_fleet`.

    Raises:
        OSError: See :func:`read_units` and :func:`prepare_settings`.
        ImportError: See :func:`prepare_settings`.
        ValueError: See :func:`read_units` and :func:`prepare_settings`.
        CheckpointError: See :func:`prepare_settings`.
    """
    options = {
        name: getattr(args, name)
        for name in SOURCE_OPTIONS if getattr(args, name) is not None
    }
    units = read_units(inputs, options)
    quiet()
    with redirect_stdout(sys.stderr):
        settings = prepare_settings(
            args.config,
            args.checkpoint,
            out,
            args.mode,
            args.window,
            args.cfg_options,
            device=args.device,
            outputs=tuple(args.outputs),
            score_thr=args.score_thr,
            checkpoint_every=args.checkpoint_every,
            allow_mismatch=args.allow_mismatch)
    return units, settings


def run_share(args: argparse.Namespace) -> None:
    """Run one share of many videos in this process.

    Args:
        args (argparse.Namespace): From :func:`parse_video_arguments`, with a
            ``shard``.

    Raises:
        OSError: See :func:`run_fleet`.
        ImportError: See :func:`run_fleet`.
        ValueError: See :func:`run_fleet`.
        CheckpointError: See :func:`prepare_settings`.
        SystemExit: See :func:`report_fleet`.
    """
    units, settings = prepare_fleet(args, args.input, args.out_dir)
    report_fleet(
        lambda: run_fleet(units, settings, lambda: SerialEngine(settings), args
                          .shard), settings.out)


def report_fleet(run: Callable[[], FleetSummary], out: str) -> None:
    """Run a fleet, and print what became of it.

    Args:
        run (Callable): Runs it.
        out (str): Folder or address of the results.

    Raises:
        SystemExit: With exit code 3 if videos have no result, with 130 if
            Ctrl-C or SIGTERM stopped it.
    """
    try:
        with _stopped_by_sigterm(), redirect_stdout(sys.stderr):
            summary = run()
    except KeyboardInterrupt:
        print(
            'stopped; what is finished stays, run again to go on',
            file=sys.stderr)
        sys.exit(INTERRUPTED)
    speed = ''
    if summary.num_frames:
        speed = f', {summary.num_frames / summary.seconds:.1f} frames/s'
    num_failed = len(summary.failures)
    print(f'{summary.num_videos} videos: {summary.num_skipped} were finished '
          f'before, {num_failed} failed{speed}')
    print(out)
    if num_failed:
        sys.exit(FAILED)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, by which clusters end a job, do what Ctrl-C does."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
