# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tell where the time of a frame or of a training step goes.

With --video the frames of a file go through the pipeline that users run, from
decoding to the files of the results; otherwise input is random. What is timed
then does not depend on what it shows, except for association and refinement,
whose cost grows with the number of tracked objects: mind the line
"tracklets". Thresholds of the tracker near 0, given with --cfg-options, make
tracklets of noise. --tracklets gives refinement as many as a video has, all
over the window, one of them missed in each frame in turn, and compares with
no refinement (W = 0) of the same frames.

--against and --against-checkout measure two things in one run, turn by turn
in two processes, and print the ratio of their medians.

Example:
    python tools/analysis_tools/benchmark.py CONFIG --shape 480 640 --threads 2
    python tools/analysis_tools/benchmark.py CONFIG --tracklets 5
    python tools/analysis_tools/benchmark.py CONFIG --train --shape 512 512
    python tools/analysis_tools/benchmark.py CONFIG --train --data
    python tools/analysis_tools/benchmark.py NAME --video street.mp4
    python tools/analysis_tools/benchmark.py NAME --video street.mp4 \
        --against runtime=onnxruntime
    python tools/analysis_tools/benchmark.py NAME --video street.mp4 \
        --against-checkout ../main
"""
import argparse
import json
from dataclasses import fields
from typing import Any, Dict, List, Optional

from mmengine.config import DictAction

from refinevis_mm.apis import OUTPUTS
from refinevis_mm.deployment import RUNTIMES
from refinevis_mm.models.layers.ms_deform_attn import BACKENDS
from refinevis_mm.profiling import (AGAINST, DTYPES, Profile, ProfileSettings,
                                    format_pairs, format_report, run_pairs)
from refinevis_mm.utils import one_line_errors


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Tell where the time of a frame or a training step goes')
    parser.add_argument(
        'config',
        help='config file path, name of a shipped config, or name of weights')
    parser.add_argument(
        '--checkpoint',
        help='weights; default: those that the config names, else random ones')
    parser.add_argument(
        '--video',
        help='run a video file through the pipeline that users run; default: '
        'random input')
    parser.add_argument(
        '--frames',
        type=int,
        default=20,
        help='frames of the video, all in one run; default: 20')
    parser.add_argument(
        '--outputs',
        nargs='+',
        choices=list(OUTPUTS),
        default=['results'],
        help='what is made of the video; default: results')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=('H', 'W'),
        help='height and width of random input in pixels; default: 480 640')
    parser.add_argument(
        '--threads',
        type=int,
        help='threads of PyTorch and of the runtime; default: their own')
    parser.add_argument(
        '--backend',
        choices=list(BACKENDS),
        help='backend of deformable attention; default: the automatic choice')
    parser.add_argument(
        '--runtime',
        choices=list(RUNTIMES),
        help='compute the networks by it, on the CPU; default: by PyTorch')
    parser.add_argument(
        '--graphs',
        metavar='DIR',
        help='graphs that tools/deployment/export.py has written; default: '
        'they are exported once, into the cache')
    parser.add_argument(
        '--dtype', choices=list(DTYPES), help='autocast; default: float32')
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the frame model with torch.compile')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...; default: cpu')
    parser.add_argument(
        '--repeats',
        type=int,
        default=10,
        help='runs, or pairs of runs, that are timed; default: 10')
    parser.add_argument(
        '--warmup', type=int, default=2, help='runs before them; default: 2')
    parser.add_argument(
        '--train',
        action='store_true',
        help='time training steps (forward, backward, optimiser of the '
        'config) instead of inference')
    parser.add_argument(
        '--data',
        action='store_true',
        help='train on the data of the config instead of random input; loaded '
        'in the same process, so that all of it is seen')
    parser.add_argument(
        '--batch-size',
        type=int,
        help='images or clips of a training step, or frames that a frame '
        'model gets at a time; default: 1, with --data the config\'s')
    parser.add_argument(
        '--objects',
        type=int,
        default=10,
        help='ground-truth objects of a random training image; default: 10')
    parser.add_argument(
        '--tracklets',
        type=int,
        help='inference: tracklets in the full window of refinement; '
        'default: those that the tracker finds in the noise')
    parser.add_argument(
        '--operators',
        type=int,
        default=0,
        metavar='N',
        help='name the N operators of the most time; default: 0')
    parser.add_argument(
        '--against',
        nargs='+',
        action=DictAction,
        help='compare with other settings, as key=value pairs: '
        f'{", ".join(AGAINST)}, or settings of the config')
    parser.add_argument(
        '--against-checkout',
        metavar='DIR',
        help='compare with the package in another checkout')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of a table')
    args = parser.parse_args(argv)
    for name in ('repeats', 'batch_size', 'threads', 'objects', 'tracklets',
                 'frames'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, '
                         f'got {value}')
    for name in ('warmup', 'operators'):
        if getattr(args, name) < 0:
            parser.error(f'--{name} must not be negative, got '
                         f'{getattr(args, name)}')
    if min(args.shape) < 32:
        parser.error(f'--shape must be at least 32 x 32, got {args.shape}')
    try:
        settings_of(args).check()
    except ValueError as error:
        parser.error(f'--{error}')
    return args


def settings_of(args: argparse.Namespace) -> ProfileSettings:
    """What a command line wants to have measured."""
    options = dict(vars(args), cfg_options=args.cfg_options or {})
    return ProfileSettings(
        **{
            field.name: options[field.name]
            for field in fields(ProfileSettings) if field.name in options
        })


def run_benchmark(args: argparse.Namespace) -> Dict[str, Any]:
    """Measure what the command line wants.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict: See :meth:`Profile.report` and :func:`run_pairs`.

    Raises:
        ImportError: If a package is missing.
        OSError: If a file is missing.
        ValueError: If something cannot be measured in this way.
    """
    settings = settings_of(args)
    if args.against or args.against_checkout:
        return run_pairs(settings, args.repeats, args.warmup, args.against,
                         args.against_checkout, args.operators)
    with Profile(settings) as profile:
        for _ in range(args.warmup):
            profile.measure(keep=False)
        for _ in range(args.repeats):
            profile.measure()
        return profile.report(args.operators)


@one_line_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    report = run_benchmark(args)
    if args.json:
        print(json.dumps(report, indent=2))
    elif 'reports' in report:
        second = [
            f'{key}={value}' for key, value in (args.against or {}).items()
        ]
        if args.against_checkout:
            second.append(args.against_checkout)
        print(format_pairs(report, ', '.join(second)))
    else:
        print(format_report(report))


if __name__ == '__main__':
    main()
