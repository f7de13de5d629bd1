# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Evaluate a results file by the official YouTube-VIS / OVIS protocol.

Example:
    python tools/analysis_tools/eval_vis.py valid.json results.json
"""
import argparse
import json
import sys
from typing import List, Optional

from terminaltables import AsciiTable

from refinevis_mm.evaluation import evaluate_vis

COLUMNS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100',
           'ARs', 'ARm', 'ARl')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Evaluate results of video instance segmentation',
        epilog='Exit code 0: evaluated; 1: refused, the reason is printed; '
        '2: wrong arguments.')
    parser.add_argument(
        'gt', help='annotations in YouTube-VIS format, .json or .json.gz')
    parser.add_argument(
        'results', help='results in submission format, .json or .json.gz')
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument(
        '--strict',
        action='store_true',
        help='refuse results of unknown categories instead of dropping them')
    return parser.parse_args(argv)


def format_table(stats: dict) -> str:
    """Table of all classes and their mean, in percent; '-' where no object.

    Args:
        stats (dict): What ``evaluate_vis`` returns.

    Returns:
        str: One line per class, the mean last.
    """

    def line(name: str, numbers: dict) -> List[str]:
        return [name] + [
            '-' if numbers[column] < 0 else f'{100 * numbers[column]:.2f}'
            for column in COLUMNS
        ]

    rows = [['class', *COLUMNS]]
    rows += [
        line(str(numbers['name'] or category_id), numbers)
        for category_id, numbers in stats['per_class'].items()
    ]
    rows.append(line('all', stats))
    table = AsciiTable(rows)
    table.inner_footing_row_border = True
    for column in range(1, len(COLUMNS) + 1):
        table.justify_columns[column] = 'right'
    return table.table


def main(argv: Optional[List[str]] = None) -> int:
    """Evaluate and print; returns the exit code."""
    args = parse_args(argv)
    try:
        stats = evaluate_vis(
            args.gt,
            args.results,
            unknown_category='raise' if args.strict else 'drop')
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(json.dumps(stats, indent=1) if args.json else format_table(stats))
    return 0


if __name__ == '__main__':
    sys.exit(main())
