# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Evaluate a results file by the official YouTube-VIS / OVIS protocol.

Example:
    python tools/analysis_tools/eval_vis.py valid.json results.json
    python tools/analysis_tools/eval_vis.py valid.json outputs/fleet
    python tools/analysis_tools/eval_vis.py valid.json results.json --tracking
    python tools/analysis_tools/eval_vis.py valid.json results.json \\
        --tracking wise --score-thr 0
    python tools/analysis_tools/eval_vis.py davis.json results.json \\
        --class-agnostic --crowd-regions --best-tracklet --davis
    python tools/analysis_tools/eval_vis.py valid.json results.json \\
        --class-agnostic --short-videos youtube_vis_2021/valid/instances.json
"""
import argparse
import json
import os.path as osp
import sys
from contextlib import redirect_stdout
from typing import Iterable, List, Optional

from mmengine.utils import ProgressBar
from terminaltables import AsciiTable

from refinevis_mm.evaluation import (evaluate_best_tracklet, evaluate_davis,
                                     evaluate_tracking, evaluate_vis)
from refinevis_mm.evaluation.davis_eval import TASKS
from refinevis_mm.evaluation.tracking_eval import CLASSES
from refinevis_mm.fleet import load_fleet_results
from refinevis_mm.vis_json import load_json, missing_results

COLUMNS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100',
           'ARs', 'ARm', 'ARl')
SUBSETS = dict(
    short='all, short videos',
    long='all, long videos',
    agnostic='all, classes as one')
LEVELS = dict(so='slightly', mo='moderately', ho='heavily')
TRACKING_RATES = dict(
    hota='HOTA',
    deta='DetA',
    assa='AssA',
    loca='LocA',
    idf1='IDF1',
    mota='MOTA',
    motp='MOTP')
TRACKED = dict(
    agnostic='taken as one',
    wise='apart',
    mots='taken as one, masks cut so that none overlap')
MOTS_RATES = dict(smotsa='sMOTSA', motsa='MOTSA', motsp='MOTSP')
TRACKING_COUNTS = dict(
    id_switches='switches',
    fragmentations='fragm.',
    misses='misses',
    false_positives='false pos.',
    num_gt='object-frames',
    num_pred='predicted masks')
DAVIS_RATES = dict(
    j_and_f='J&F',
    j_mean='J',
    j_recall='J recall',
    j_decay='J decay',
    f_mean='F',
    f_recall='F recall',
    f_decay='F decay')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Evaluate results of video instance segmentation',
        epilog='Exit code 0: evaluated; 1: refused, the reason is printed; '
        '2: wrong arguments.')
    parser.add_argument(
        'gt', help='annotations in YouTube-VIS format, .json or .json.gz')
    parser.add_argument(
        'results',
        help='results in submission format, .json or .json.gz, or folder or '
        'address of a fleet')
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument(
        '--strict',
        action='store_true',
        help='refuse results of unknown categories instead of dropping them')
    parser.add_argument(
        '--tracking',
        nargs='?',
        choices=CLASSES,
        const='agnostic',
        help='also give HOTA, IDF1, MOTA and identity switches: of all classes '
        'as one (agnostic, the default), of each (wise), or of masks that do '
        'not overlap (mots)')
    parser.add_argument(
        '--class-agnostic',
        action='store_true',
        help='also give the numbers for all classes taken as one')
    parser.add_argument(
        '--crowd-regions',
        action='store_true',
        help='leave out results that lie in crowds, as COCO does with images, '
        'for videos in which only some objects are labelled')
    parser.add_argument(
        '--best-tracklet',
        action='store_true',
        help='also give J: how well the best tracklet of each object covers '
        'it, whatever the classes and scores')
    parser.add_argument(
        '--davis',
        nargs='?',
        choices=TASKS,
        const=TASKS[0],
        help="also give DAVIS's J and F of the objects of the first frames")
    parser.add_argument(
        '--short-videos',
        metavar='FRAMES|JSON',
        help='also give the numbers for short and for long videos: the '
        'frames that a short one has at most, or the annotations of the '
        'short ones (for YouTube-VIS 2022 those of 2021)')
    parser.add_argument(
        '--num-workers',
        type=int,
        help='processes to use; default: one for each processor up to 4, one '
        'alone where there are few masks')
    parser.add_argument(
        '--no-progress', action='store_true', help='draw no progress bar')
    parser.add_argument(
        '--score-thr',
        type=float,
        help='score below which results do not count for --tracking; '
        'default: 0.3')
    args = parser.parse_args(argv)
    if args.score_thr is None:
        args.score_thr = 0.3
    elif not args.tracking:
        parser.error('--score-thr is for --tracking; AP uses all results')
    if args.short_videos is not None and args.short_videos.isdigit():
        args.short_videos = int(args.short_videos)
    return args


def format_table(stats: dict) -> str:
    """Tables of all numbers, in percent; '-' where no object.

    Args:
        stats (dict): What ``evaluate_vis`` returns.

    Returns:
        str: One line per class that has objects or results, the mean last,
        how many classes have neither, and tables of the extras.
    """

    def line(name: str, numbers: dict) -> List[str]:
        return [name] + [
            '-' if numbers[column] < 0 else f'{100 * numbers[column]:.2f}'
            for column in COLUMNS
        ]

    seen = {
        category_id: numbers
        for category_id, numbers in stats['per_class'].items()
        if numbers['num_objects'] or numbers['num_results']
    }
    rows = [['class', *COLUMNS]]
    rows += [
        line(str(numbers['name'] or category_id), numbers)
        for category_id, numbers in seen.items()
    ]
    rows.append(line('all', stats))
    text = [_right_aligned(rows, footing=True)]
    num_others = len(stats['per_class']) - len(seen)
    if num_others:
        text.append(f'classes without objects and results: {num_others}')
    subsets = [
        line(name, {column: stats[f'{column}_{key}']
                    for column in COLUMNS}) for key, name in SUBSETS.items()
        if f'AP_{key}' in stats
    ]
    if subsets:
        text.append(_right_aligned([['videos', *COLUMNS], *subsets]))
    levels = [key for key in LEVELS if f'AP_{key}' in stats]
    if levels:
        values = [
            '-'
            if stats[f'AP_{key}'] < 0 else f'{100 * stats[f"AP_{key}"]:.2f}'
            for key in levels
        ]
        names = [f'AP_{key} ({LEVELS[key]} occluded)' for key in levels]
        text.append(_right_aligned([names, values], first=0))
    return '\n'.join(text)


def _right_aligned(rows: List[List[str]],
                   footing: bool = False,
                   first: int = 1) -> str:
    """Table of rows, numbers to the right from column ``first`` on."""
    table = AsciiTable(rows)
    table.inner_footing_row_border = footing
    table.justify_columns = dict.fromkeys(range(first, len(rows[0])), 'right')
    return table.table


def format_tracking(numbers: dict) -> str:
    """Tables of the tracking metrics, rates in percent.

    Args:
        numbers (dict): What ``evaluate_tracking`` returns.

    Returns:
        str: The rates and the counts, a line for all and, if classes are
        apart, one for each and for their mean.
    """
    names = dict(TRACKING_RATES, **(MOTS_RATES if 'smotsa' in numbers else {}))
    rows = [['', *names.values(), *TRACKING_COUNTS.values()]]
    for part in numbers.get('per_class', {}).values():
        if part['num_gt'] or part['num_pred']:
            rows.append([str(part['name']), *_cells(part, names)])
    rows.append(['all', *_cells(numbers, names)])
    if 'per_class' in numbers:
        averages = {name: numbers[f'{name}_class_averaged'] for name in names}
        rows.append(['mean of classes', *_rates(averages, names)] +
                    [''] * len(TRACKING_COUNTS))
    return _right_aligned(rows)


def _cells(numbers: dict, names: Iterable[str]) -> List[str]:
    """Rates in percent, and counts."""
    return _rates(numbers,
                  names) + [str(numbers[name]) for name in TRACKING_COUNTS]


def _rates(numbers: dict, names: Iterable[str]) -> List[str]:
    """Some numbers in percent."""
    return [f'{100 * numbers[name]:.2f}' for name in names]


def format_davis(numbers: dict) -> str:
    """Table of J and F, in percent.

    Args:
        numbers (dict): What ``evaluate_davis`` returns.

    Returns:
        str: The rates under their names.
    """
    rows = [[*DAVIS_RATES.values(), 'objects'],
            [*_rates(numbers, DAVIS_RATES),
             str(numbers['num_objects'])]]
    return _right_aligned(rows, first=0)


class _Progress:
    """Draws the share of the evaluation that is done."""

    def __init__(self) -> None:
        self.bar: Optional[ProgressBar] = None

    def __call__(self, done: int, total: int) -> None:
        """Draw the bar for ``done`` parts of ``total``."""
        if self.bar is None:
            self.bar = ProgressBar(total, file=sys.stderr)
        self.bar.update()
        if done == total:
            print(file=sys.stderr)


def evaluate(args: argparse.Namespace, gt: dict, results: list) -> dict:
    """All numbers that are asked for.

    Args:
        args (argparse.Namespace): The command line.
        gt (dict): Loaded annotations.
        results (list): Loaded results.

    Returns:
        dict: What ``evaluate_vis`` returns, also under ``tracking``,
        ``best_tracklet`` and ``davis`` what the other evaluators return.

    Raises:
        ValueError: If there is no ground truth or the input is malformed.
        OSError: If a file cannot be read.
    """
    stats = evaluate_vis(
        gt,
        results,
        unknown_category='raise' if args.strict else 'drop',
        class_agnostic=args.class_agnostic,
        crowd_regions=args.crowd_regions,
        short_videos=args.short_videos,
        check_masks=True,
        num_workers=args.num_workers,
        progress=None if args.no_progress else _Progress())
    if args.tracking:
        stats['tracking'] = evaluate_tracking(gt, results, args.tracking,
                                              args.score_thr)
    if args.best_tracklet:
        stats['best_tracklet'] = evaluate_best_tracklet(gt, results)
    if args.davis:
        stats['davis'] = evaluate_davis(gt, results, args.davis)
    return stats


def print_tables(args: argparse.Namespace, stats: dict) -> None:
    """Print all numbers as tables.

    Args:
        args (argparse.Namespace): The command line.
        stats (dict): What :func:`evaluate` returns.
    """
    print(format_table(stats))
    if args.tracking:
        print(f'tracking, results of score >= {args.score_thr:g}, classes '
              f'{TRACKED[args.tracking]}:\n'
              f'{format_tracking(stats["tracking"])}')
    if args.best_tracklet:
        numbers = stats['best_tracklet']
        print(f'J of the best tracklet: {100 * numbers["J"]:.2f} '
              f'({len(numbers["per_object"])} objects)')
    if args.davis:
        print(f'DAVIS, {args.davis}:\n{format_davis(stats["davis"])}')


def load_results(results: str, gt: dict) -> list:
    """Load a results file, or what a fleet has left.

    Args:
        results (str): The file, or folder or address of a fleet.
        gt (dict): Loaded annotations.

    Returns:
        list: Result rows.

    Raises:
        ValueError: If they are malformed or not those of the annotations.
        OSError: If a file cannot be read.
    """
    if results.endswith(('.json', '.json.gz')) or osp.isfile(results):
        return load_json(results)
    return load_fleet_results(results, gt)


def main(argv: Optional[List[str]] = None) -> int:
    """Evaluate and print; returns the exit code."""
    args = parse_args(argv)
    try:
        gt = load_json(args.gt)
        results = load_results(args.results, gt)
        with redirect_stdout(sys.stderr):  # the log, for numbers alone
            stats = evaluate(args, gt, results)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(stats, indent=1))
    else:
        print_tables(args, stats)
    missing = missing_results(gt, {row['video_id'] for row in results})
    if missing:
        print(missing, file=sys.stderr if args.json else sys.stdout)
    return 0


if __name__ == '__main__':
    sys.exit(main())
