# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Simulate a fleet of any size, with times measured by benchmark_fleet.py.

Example:
    python tools/analysis_tools/simulate_fleet.py work_dirs/fleet/costs.json \
        --videos 10000 --workers 1 10 100 1000 --hours-of-life 10 \
        --megabytes 20 --megabytes-per-second 1000

Discrete events on the loop that real fleets run: workers start, get videos
from the one driver, fetch them from the one storage, run them in one of the
measured times, die at random and are replaced.
"""
import argparse
import math
import random

from terminaltables import AsciiTable

from refinevis_mm.fleet import FleetCosts, simulate_fleet
from refinevis_mm.structures import check_form
from refinevis_mm.utils import one_line_errors
from refinevis_mm.vis_json import load_json

FORM = dict(start=float, driver=float, videos=[float])


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Simulate a fleet')
    parser.add_argument('costs', help='costs.json of benchmark_fleet.py')
    parser.add_argument('--videos', type=int, default=10000)
    parser.add_argument(
        '--workers', type=int, nargs='+', default=[1, 10, 100, 1000])
    parser.add_argument(
        '--times',
        type=float,
        default=1.,
        help='how many times longer the videos are than those measured')
    parser.add_argument(
        '--hours-of-life',
        type=float,
        default=math.inf,
        help='mean hours until a worker dies; default: none does')
    parser.add_argument(
        '--checkpoint-seconds',
        type=float,
        default=math.inf,
        help='work between two checkpoints; default: there are none')
    parser.add_argument(
        '--megabytes', type=float, default=0., help='of a video')
    parser.add_argument(
        '--megabytes-per-second',
        type=float,
        default=math.inf,
        help='of the storage, for all workers; default: no limit')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Simulate and print a table."""
    args = parse_args()
    measured = load_json(args.costs)
    check_form(measured, FORM, f'"{args.costs}"')
    rng = random.Random(args.seed)
    costs = FleetCosts(
        start=measured['start'],
        videos=[
            args.times * rng.choice(measured['videos'])
            for _ in range(args.videos)
        ],
        driver=measured['driver'],
        num_bytes=1e6 * args.megabytes,
        bandwidth=1e6 * args.megabytes_per_second,
        lifetime=3600 * args.hours_of_life,
        checkpoint=args.checkpoint_seconds)
    table = [[
        'workers', 'hours', 'efficiency', 'driver busy', 'storage busy',
        'deaths', 'failed'
    ]]
    for number in args.workers:
        fleet = simulate_fleet(costs, number, args.seed)
        table.append([
            str(number), f'{fleet.seconds / 3600:.3f}',
            f'{fleet.efficiency:.1%}', f'{fleet.driver:.1%}',
            f'{fleet.storage:.1%}',
            str(fleet.num_deaths),
            str(fleet.num_failed)
        ])
    print(AsciiTable(table).table)


if __name__ == '__main__':
    main()
