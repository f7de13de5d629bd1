# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""List all defects of a YouTube-VIS data set or of a results file.

Errors are what makes a file unusable, warnings are wrong data that can be
read, notes are traps for other programs. Each names its video, annotation or
result, and frame (0-based).

Example:
    python tools/analysis_tools/validate_vis.py data/my_videos/train.json \\
        --frames data/my_videos/train/JPEGImages
    python tools/analysis_tools/validate_vis.py data/ovis/validGT.json \\
        --results work_dirs/results.json --json report.json
"""
import argparse
import json
import sys
from collections import Counter
from typing import Dict, List, Optional

from refinevis_mm.files import write_text
from refinevis_mm.video_io import read_image
from refinevis_mm.vis_json import (ERROR, LEVELS, NOTE, PRESETS, WARNING,
                                   Defect, find_defects, find_frame_defects,
                                   find_result_defects, load_json,
                                   match_classes)

COUNTED = ('categories', 'videos', 'annotations')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='List all defects of a YouTube-VIS data set',
        epilog='Exit code 0: no errors and no warnings; 1: some; 2: wrong '
        'arguments, or a file that is no JSON or cannot be read or written.')
    parser.add_argument('annotations', help='data set, .json or .json.gz')
    parser.add_argument(
        '--frames',
        metavar='DIR',
        help='also check the image files, which are in this folder; each is '
        'read whole')
    parser.add_argument(
        '--results',
        metavar='JSON',
        help='also check these results in submission form')
    parser.add_argument(
        '--preset',
        choices=list(PRESETS),
        help='also check that the classes are those of this data set')
    parser.add_argument(
        '--ignore',
        nargs='+',
        default=[],
        choices=list(LEVELS),
        metavar='CODE',
        help='defects to leave out, such as box-outside')
    parser.add_argument(
        '--json', metavar='OUT', help='write the report here, too')
    parser.add_argument(
        '--max-lines',
        type=int,
        default=20,
        help='defects of a kind to print (default: 20)')
    return parser.parse_args(argv)


def check_preset(content: object, preset: str) -> List[Defect]:
    """Compare the classes with a preset.

    Args:
        content (object): The loaded JSON.
        preset (str): Name of the preset.

    Returns:
        list[Defect]: At most one.
    """
    categories = content.get('categories') if isinstance(content,
                                                         dict) else None
    names = [
        str(item.get('name')) for item in categories or []
        if isinstance(item, dict)
    ]
    if match_classes(names, PRESETS[preset]) is not None:
        return []
    missing = [name for name in PRESETS[preset] if name not in names]
    unknown = [name for name in names if name not in PRESETS[preset]]
    return [
        Defect(
            'preset-classes', f'the classes must be those of {preset}, but '
            f'{missing} are missing and {unknown} are too many')
    ]


def make_report(content: object, defects: Dict[str, List[Defect]]) -> dict:
    """The machine-readable report.

    Args:
        content (object): The loaded JSON of the data set.
        defects (dict[str, list[Defect]]): Defects by file or folder.

    Returns:
        dict: Numbers of entries, of defects by level and by code, and the
        defects.
    """
    found = [defect for part in defects.values() for defect in part]
    sizes = {}
    for key in COUNTED:
        value = content.get(key) if isinstance(content, dict) else None
        sizes[key] = len(value) if isinstance(value, list) else 0
    levels = Counter(defect.level for defect in found)
    return dict(
        valid=not levels[ERROR] and not levels[WARNING],
        **sizes,
        errors=levels[ERROR],
        warnings=levels[WARNING],
        notes=levels[NOTE],
        codes=dict(Counter(defect.code for defect in found)),
        defects=[
            dict(source=source, **defect.to_dict())
            for source, part in defects.items() for defect in part
        ])


def print_report(report: dict, defects: Dict[str, List[Defect]],
                 max_lines: int) -> None:
    """Print the defects, errors first, and their numbers.

    Args:
        report (dict): What :func:`make_report` returns.
        defects (dict[str, list[Defect]]): Defects by file or folder.
        max_lines (int): Defects of a kind to print.
    """
    for level in (ERROR, WARNING, NOTE):
        for source, part in defects.items():
            printed = Counter()
            for defect in part:
                if defect.level != level:
                    continue
                printed[defect.code] += 1
                if printed[defect.code] <= max_lines:
                    print(f'{level} [{defect.code}] {source}: {defect}')
            for code, number in printed.items():
                if number > max_lines:
                    print(f'{level} [{code}] {source}: '
                          f'{number - max_lines} more')
    sizes = ', '.join(f'{report[key]} {key}' for key in COUNTED)
    print(f'{sizes}: {report["errors"]} errors, {report["warnings"]} '
          f'warnings, {report["notes"]} notes')


def main(argv: Optional[List[str]] = None) -> int:
    """Check and print; returns the exit code."""
    args = parse_args(argv)
    try:
        content = load_json(args.annotations)
        results = load_json(args.results) if args.results else None
        defects = {args.annotations: find_defects(content)}
        if args.preset:
            defects[args.annotations] += check_preset(content, args.preset)
        if args.frames:
            defects[args.frames] = list(
                find_frame_defects(content, args.frames, read_image))
        if args.results:
            defects[args.results] = find_result_defects(content, results)
        defects = {
            source: [item for item in part if item.code not in args.ignore]
            for source, part in defects.items()
        }
        report = make_report(content, defects)
        if args.json:
            write_text(args.json, json.dumps(report, indent=1))
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print_report(report, defects, args.max_lines)
    return 0 if report['valid'] else 1


if __name__ == '__main__':
    sys.exit(main())
