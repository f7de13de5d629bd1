# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Measure what refinement recovers: mean mask IoU where objects are hidden.

The results of a model without refinement, and with it:
    python tools/test.py CONFIG CHECKPOINT --cfg-options model.window=0 \
        test_evaluator.outfile_prefix=work_dirs/frame_level
    python tools/test.py CONFIG CHECKPOINT --cfg-options model.mode=offline \
        test_evaluator.outfile_prefix=work_dirs/offline

Example:
    python tools/analysis_tools/eval_recovery.py valid.json \
        work_dirs/frame_level.json work_dirs/offline.json
"""
import argparse
import json
import os.path as osp
import sys
from contextlib import redirect_stdout
from typing import List, Optional

from terminaltables import AsciiTable

from refinevis_mm.evaluation.recovery_eval import evaluate_recovery
from refinevis_mm.utils import one_line_errors
from refinevis_mm.vis_json import load_json, missing_results


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Mean mask IoU by occlusion, before and after refinement')
    parser.add_argument(
        'gt', help='annotations in YouTube-VIS format, .json or .json.gz')
    parser.add_argument(
        'frame_level', help='results without refinement, .json or .json.gz')
    parser.add_argument('refined', nargs='+', help='results with refinement')
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of tables')
    return parser.parse_args()


def column_names(files: List[str]) -> List[str]:
    """Names of the files, with their folders where names alone agree."""
    names = [osp.basename(file).split('.json')[0] for file in files]
    return files if len(set(names)) < len(names) else names


def format_table(title: str, subsets: dict, names: List[str]) -> str:
    """Table of the subsets in percent, with standard errors over videos.

    Args:
        title (str): Head of the first column.
        subsets (dict): A part of what ``evaluate_recovery`` returns.
        names (list[str]): Names of the refined results.

    Returns:
        str: One line per subset; for refined results the number and its
        difference to the frame level.
    """

    def percent(value: Optional[float],
                error: Optional[float],
                sign: str = '') -> str:
        if value is None:
            return '-'
        text = f'{100 * value:{sign}.2f}'
        return text if error is None else f'{text} +- {100 * error:.2f}'

    rows = [[title, 'object-frames', 'videos', 'frame level']]
    for name in names:
        rows[0] += [name, 'difference']
    for subset, numbers in subsets.items():
        row = [subset, str(numbers['count']), str(numbers['num_videos'])]
        row.append(percent(numbers['mean'][0], numbers['se'][0]))
        for index in range(1, len(names) + 1):
            row.append(percent(numbers['mean'][index], numbers['se'][index]))
            row.append(
                percent(numbers['gain'][index], numbers['gain_se'][index],
                        '+'))
        rows.append(row)
    table = AsciiTable(rows)
    table.justify_columns = dict.fromkeys(range(1, len(rows[0])), 'right')
    return table.table


@one_line_errors
def main() -> None:
    """Evaluate and print."""
    args = parse_args()
    gt = load_json(args.gt)
    files = {
        path: load_json(path)
        for path in (args.frame_level, *args.refined)
    }
    with redirect_stdout(sys.stderr):  # the log, for numbers alone
        numbers = evaluate_recovery(
            gt,
            files[args.frame_level], [files[path] for path in args.refined],
            check_masks=True)
    if args.json:
        print(json.dumps(numbers, indent=1))
    else:
        names = column_names(args.refined)
        print(format_table('mean IoU', numbers['iou'], names))
        print('frames in which the object is not to be seen, but has a mask:')
        print(format_table('hallucinated', numbers['hallucinated'], names))
    for path, results in files.items():
        missing = missing_results(gt, {row['video_id'] for row in results})
        if missing:
            print(
                f'{path}: {missing}',
                file=sys.stderr if args.json else sys.stdout)


if __name__ == '__main__':
    main()
