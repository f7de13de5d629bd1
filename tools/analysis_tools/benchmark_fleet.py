# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Measure a fleet of local workers: speed, and what a video costs.

Example:
    python tools/analysis_tools/benchmark_fleet.py clips.json \
        refinevis-small_occluded-shapes --work-dir work_dirs/fleet \
        --workers 1 2 4
    python tools/analysis_tools/simulate_fleet.py work_dirs/fleet/costs.json

A run for each number of workers, from nothing. Where videos have different
numbers of frames, the seconds of a video are fitted by a line: seconds of a
frame, and those that a video costs besides.
"""
import argparse
import json
import os.path as osp
import statistics
from typing import List, Tuple

import numpy as np
from terminaltables import AsciiTable

from refinevis_mm.apis.command_line import (add_inference_arguments,
                                            add_outputs_argument,
                                            add_run_arguments)
from refinevis_mm.files import delete, write_text
from refinevis_mm.fleet import (DEFAULT_OUTPUTS, LocalEngine, TimedEngine,
                                prepare_fleet, run_fleet)
from refinevis_mm.utils import (add_model_arguments, add_source_arguments,
                                one_line_errors)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Measure a fleet of local workers')
    parser.add_argument('inputs', help='as of tools/fleet.py')
    add_model_arguments(parser)
    parser.add_argument(
        '--work-dir',
        required=True,
        help='the dir of the results, and of costs.json')
    parser.add_argument(
        '--workers',
        type=int,
        nargs='+',
        default=[1, 2, 4],
        help='numbers of workers, the first is compared with')
    add_outputs_argument(parser, DEFAULT_OUTPUTS)
    add_run_arguments(parser)
    add_inference_arguments(parser)
    add_source_arguments(parser)
    return parser.parse_args()


def fit(videos: List[Tuple[int, float]]) -> Tuple[float, float]:
    """Seconds of a frame, and of a video besides.

    Args:
        videos (list[tuple[int, float]]): Frames and seconds of each.

    Returns:
        tuple[float, float]: Slope and intercept of the line through them;
        the intercept is not a number where all have as many frames.
    """
    frames, seconds = np.array(videos).T
    if len(set(frames)) == 1:
        return float(seconds.mean() / frames[0]), float('nan')
    slope, intercept = np.polyfit(frames, seconds, 1)
    return float(slope), float(intercept)


def measure(args: argparse.Namespace, num_workers: int) -> dict:
    """Run a fleet from nothing; what it took."""
    out = osp.join(args.work_dir, f'workers-{num_workers}')
    delete(out)
    units, settings = prepare_fleet(args, args.inputs, out)
    engines: List[TimedEngine] = []

    def make_engine() -> TimedEngine:
        engines.append(TimedEngine(LocalEngine(settings, num_workers)))
        return engines[0]

    summary = run_fleet(units, settings, make_engine)
    if summary.failures:
        raise ValueError('all videos must have a result, but '
                         f'{summary.failures[0]["name"]}: '
                         f'{summary.failures[0]["reason"]}')
    engine = engines[0]
    frame, video = fit(engine.videos)
    start = statistics.mean(engine.starts)
    return dict(
        workers=num_workers,
        seconds=summary.seconds,
        start=start,
        fps=summary.num_frames / (summary.seconds - start),
        frame=frame,
        overhead=video,
        driver=engine.driver / len(units),
        videos=[seconds for _, seconds in engine.videos])


@one_line_errors
def main() -> None:
    """Measure and print a table."""
    args = parse_args()
    rows = [measure(args, number) for number in args.workers]
    table = [[
        'workers', 'seconds', 'until the first model', 'frames/s', 'ratio',
        'ms a frame', 'ms a video besides', 'ms of the driver a video'
    ]]
    for row in rows:
        table.append([
            str(row['workers']), f'{row["seconds"]:.1f}',
            f'{row["start"]:.1f}', f'{row["fps"]:.1f}',
            f'{row["fps"] / rows[0]["fps"]:.2f}', f'{1e3 * row["frame"]:.1f}',
            f'{1e3 * row["overhead"]:.0f}', f'{1e3 * row["driver"]:.2f}'
        ])
    print(AsciiTable(table).table)
    path = osp.join(args.work_dir, 'costs.json')
    costs = {key: rows[0][key] for key in ('start', 'driver', 'videos')}
    write_text(path, json.dumps(costs))
    print(path)


if __name__ == '__main__':
    main()
