# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Print how far every recorded stage is from the official code.

MaskDINO, IDOL, MinVIS, SeqFormer and VITA:

    python tests/parity/report.py [--all] [NAME ...]

One row per file and stage with the largest absolute and relative difference;
``--all`` prints one row per array. NAME selects files by their stem. Reads
``tests/data/parity`` and the folder ``REFINEVIS_PARITY_DIR``. Exit code 1 if
anything lies outside its tolerance.
"""
import argparse
import re
import sys
from pathlib import Path
from typing import Iterator, List, Tuple

import refinevis_mm  # noqa: F401  makes mmdet importable on mmcv-lite


def stage_of(name: str) -> str:
    """Stage of an array: ``enc/src3`` -> ``enc/src``."""
    name = re.sub(r'/(res|src|pos|ms)\d$', r'/\1', name)
    name = re.sub(r'/(image|img|item|mask|pair)\d+', r'/\1', name)
    name = re.sub(r'/(match|cost|best|k|iou_sum10|pred_masks)/.*', r'/\1',
                  name)
    name = re.sub(
        r'/(loss_raw|loss_weighted|head)/(loss_[a-z]+?)(_dn)?'
        r'(_\d+|_interm)?$', r'/\1/\2\3', name)
    return re.sub(r'/grad/.*', '/grad', name)


def replay_all(names: List[str]) -> Iterator[Tuple[Path, list]]:
    """Replay the files of all families.

    Args:
        names (list[str]): Stems of the files; all if there are none.

    Yields:
        tuple: A file and what was compared in one of its parts.
    """
    from tests.parity import (idol_model_fixtures, maskdino_fixtures,
                              minvis_fixtures, seqformer_fixtures,
                              vita_fixtures)
    parts = [
        (maskdino_fixtures, maskdino_fixtures.forward_files(),
         ('replay_forward', 'replay_ops')),
        (idol_model_fixtures, idol_model_fixtures.idol_model_files(),
         ('replay_forward', 'replay_images', 'replay_video')),
        (minvis_fixtures, minvis_fixtures.model_files(), ('replay_frames',
                                                          'replay_video')),
        (seqformer_fixtures, seqformer_fixtures.seqformer_files(),
         ('replay_video', 'replay_matching')),
        (vita_fixtures, vita_fixtures.model_files(), ('replay_module',
                                                      'replay_video')),
    ]
    for fixtures, files, functions in parts:
        for path in files:
            if not names or path.stem in names:
                for function in functions:
                    yield path, getattr(fixtures, function)(path)
        for path, run in fixtures.training_runs():
            if not names or path.stem in names:
                yield path, fixtures.replay_training(path, run)


def find_tests() -> None:
    """Let ``tests`` be ours, whatever package of that name is installed."""
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    import tests
    if str(root / 'tests') not in list(tests.__path__):
        tests.__path__.insert(0, str(root / 'tests'))


def main() -> None:
    """Replay all files and print the table."""
    from mmengine.registry import init_default_scope
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='stems of files')
    parser.add_argument('--all', action='store_true', help='one row per array')
    args = parser.parse_args()
    find_tests()
    init_default_scope('mmdet')
    print('| file | stage | arrays | max abs | max rel | tolerance | ok |')
    print('|---|---|---|---|---|---|---|')
    failed = False
    for path, rows in replay_all(args.names):
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
