# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Measure a GPU in at most eight minutes.

Frames of R50 and Swin-L at short sides of 480 and 720 pixels, in float32 and
bfloat16, one and eight at a time; the forms of deformable attention, mmcv's
CUDA operator among them; training steps in float32 and with --amp; and frames
with torch.compile. What cannot be measured is named with the reason, and what
the time does not suffice for, too: the compiled models come last. The weights
are random, nothing is downloaded.

Example:
    python tools/analysis_tools/benchmark_gpu.py --out gpu.json
    python tools/analysis_tools/benchmark_gpu.py --device cpu --tiny
"""
import argparse
import json
import sys
from typing import Any, Dict, List, Optional

from terminaltables import AsciiTable

from refinevis_mm.apis.inference import check_device
from refinevis_mm.files import write_text
from refinevis_mm.profiling import QUIET, list_cases, run_suite
from refinevis_mm.utils import one_line_errors

MODELS = dict(
    R50='refinevis_r50_16xb1-lsj-13k_youtubevis2021.py',
    SwinL='refinevis_swin-l_16xb1-lsj-13k_youtubevis2021.py')
TINY = dict(small='refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Measure a GPU in at most eight minutes')
    parser.add_argument('--out', help='JSON file for all results')
    parser.add_argument(
        '--device',
        default='cuda',
        help='cpu, cuda, cuda:1 ...; default: cuda')
    parser.add_argument(
        '--minutes',
        type=float,
        default=7.5,
        help='time for all measurements; default: 7.5')
    parser.add_argument(
        '--models',
        nargs='+',
        metavar='NAME=CONFIG',
        help='models; default: R50 and Swin-L of YouTube-VIS 2021')
    parser.add_argument(
        '--sides',
        type=int,
        nargs='+',
        help='shorter sides of 16:9 frames in pixels; default: 480 720')
    parser.add_argument(
        '--batch-sizes',
        type=int,
        nargs='+',
        help='frames at a time; default: 1 8')
    parser.add_argument(
        '--repeats', type=int, help='timed runs of each; default: 10')
    parser.add_argument(
        '--tiny',
        action='store_true',
        help='a small model, small frames and few runs, to try it')
    args = parser.parse_args(argv)
    defaults = ((TINY, [64], [1, 2], 2) if args.tiny else
                (MODELS, [480, 720], [1, 8], 10))
    models, args.sides, args.batch_sizes, args.repeats = (
        given or default
        for given, default in zip((args.models, args.sides, args.batch_sizes,
                                   args.repeats), defaults))
    if args.models:
        for text in args.models:
            if '=' not in text:
                parser.error(f'--models must be NAME=CONFIG, got {text!r}')
        models = dict(text.split('=', 1) for text in args.models)
    args.models = models
    for name in ('sides', 'batch_sizes', 'repeats'):
        values = getattr(args, name)
        least = min(values) if isinstance(values, list) else values
        if least < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, '
                         f'got {least}')
    return args


def measure(args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Measure everything; say on stderr how far it is.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        list[dict]: See :func:`run_suite`.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there is no such device.
    """
    check_device(args.device)
    cases = list_cases(args.models, args.sides, args.batch_sizes, args.device)
    results: List[Dict[str, Any]] = []

    def keep(result: Dict[str, Any]) -> None:
        results.append(result)
        print(
            f'{len(results)}/{len(cases)} ' + ', '.join(describe(result)),
            file=sys.stderr)
        if args.out is not None:  # what there is survives whatever comes
            write_text(args.out, json.dumps(results, indent=1))

    return run_suite(cases, 60 * args.minutes, args.repeats, 2, keep)


def describe(result: Dict[str, Any]) -> List[str]:
    """A row of the table."""
    height, width = result['shape']
    row = [
        result['model'], result['mode'], f'{height} x {width}',
        str(result['batch_size']), result['variant']
    ]
    if 'skipped' in result:
        return [*row, 'skipped', result['skipped']]
    times, memory = result['ms'], result['memory']
    peak = memory.get('peak_cuda_mib', memory['peak_rss_mib'])
    return [
        *row, f"{times['median']:.1f} ({times['q1']:.1f} - "
        f"{times['q3']:.1f})", f'{peak:.0f} MiB'
    ]


@one_line_errors
def main() -> None:
    """Measure and report."""
    results = measure(parse_args())
    done = [result for result in results if 'skipped' not in result]
    if done:
        print(f"{done[0]['device']}; {done[0]['versions']}")
    rows = [[
        'model', 'mode', 'input', 'batch', 'variant',
        'ms a frame or step (quartiles)', 'peak memory'
    ]]
    print(AsciiTable(rows + [describe(result) for result in results]).table)
    loads = [result['load'] for result in done]
    if None in loads or max(loads, default=0) > QUIET:
        print('warning: other programs kept cores busy, or nothing tells: up '
              f'to {max((load or 0 for load in loads), default=0):.2f} cores')


if __name__ == '__main__':
    main()
