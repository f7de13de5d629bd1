# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Print how far every recorded stage of MaskDINO is from the official code.

    python tests/parity/report.py [--all] [NAME ...]

One row per file and stage with the largest absolute and relative difference;
``--all`` prints one row per array. NAME selects files by their stem. Reads
``tests/data/parity`` and the folder ``REFINEVIS_PARITY_DIR``. Exit code 1 if
anything lies outside its tolerance.
"""
import argparse
import re
import sys

import refinevis_mm  # noqa: F401  makes mmdet importable on mmcv-lite


def stage_of(name: str) -> str:
    """Stage of an array: ``enc/src3`` -> ``enc/src``."""
    name = re.sub(r'/(res|src|pos|ms)\d$', r'/\1', name)
    name = re.sub(r'/(match|cost)/.*', r'/\1', name)
    name = re.sub(
        r'/(loss_raw|loss_weighted|head)/(loss_[a-z]+?)(_dn)?'
        r'(_\d+|_interm)?$', r'/\1/\2\3', name)
    return re.sub(r'/grad/.*', '/grad', name)


def main() -> None:
    """Replay all files and print the table."""
    from maskdino_fixtures import (forward_files, replay_forward, replay_ops,
                                   replay_training, training_runs)
    from mmengine.registry import init_default_scope
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='stems of files')
    parser.add_argument('--all', action='store_true', help='one row per array')
    args = parser.parse_args()
    init_default_scope('mmdet')
    results = []
    for path in forward_files():
        if not args.names or path.stem in args.names:
            results.append((path, replay_forward(path) + replay_ops(path)))
    for path, run in training_runs():
        if not args.names or path.stem in args.names:
            results.append((path, replay_training(path, run)))
    print('| file | stage | arrays | max abs | max rel | tolerance | ok |')
    print('|---|---|---|---|---|---|---|')
    failed = False
    for path, rows in results:
        stages = {}
        for row in rows:
            key = row.name if args.all else stage_of(row.name)
            stages.setdefault(key, []).append(row)
        for stage, group in stages.items():
            worst = max(group, key=lambda row: row.max_abs)
            passed = all(row.passed for row in group)
            failed |= not passed
            print(f'| {path.stem} | {stage} | {len(group)} | '
                  f'{worst.max_abs:.1e} | {worst.max_rel:.1e} | '
                  f'{worst.tolerance} | {"yes" if passed else "NO"} |')
    sys.exit(int(failed))


if __name__ == '__main__':
    main()
