# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Run a model over many videos, on Ray or in processes of this machine.

Examples:
    python tools/fleet.py 'clips/**/*.mp4' mask2former-r50_coco \
        --out outputs/clips
    python tools/fleet.py s3://lab/clips.jsonl CONFIG CHECKPOINT \
        --out s3://lab/results --ray-address auto --num-gpus-per-worker 1
"""
import argparse

from refinevis_mm.apis.command_line import (add_inference_arguments,
                                            add_outputs_argument,
                                            add_run_arguments)
from refinevis_mm.fleet import (DEFAULT_OUTPUTS, Engine, FleetSettings,
                                LocalEngine, RayEngine, SerialEngine,
                                prepare_fleet, report_fleet, run_fleet)
from refinevis_mm.utils import (add_model_arguments, add_source_arguments,
                                one_line_errors)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Run a model over many videos. What is finished is left '
        'out, what was stopped goes on. Exit code 0: every video has its '
        'result; 3: some failed, see failures.json; 1: the run broke off')
    parser.add_argument(
        'inputs',
        help='quoted glob pattern, list (.txt) or manifest (.json, .jsonl); a '
        'path or an address as s3://bucket/*.mp4')
    add_model_arguments(parser)
    parser.add_argument(
        '--out', required=True, help='folder or address of the results')
    parser.add_argument(
        '--engine',
        choices=['ray', 'local', 'serial'],
        default='ray',
        help='where workers run: on Ray, in processes of this machine, or one '
        'in this process; default: ray')
    parser.add_argument(
        '--ray-address',
        help='Ray cluster, "auto" for the one that this machine belongs to; '
        'default: Ray is started on this machine')
    parser.add_argument(
        '--num-gpus-per-worker',
        type=float,
        default=0.,
        help='of Ray; may be a part of one')
    parser.add_argument(
        '--max-workers',
        type=int,
        help='default: as many as there are cores, or GPUs for them')
    add_outputs_argument(parser, DEFAULT_OUTPUTS)
    add_run_arguments(parser)
    add_inference_arguments(parser)
    add_source_arguments(parser)
    args = parser.parse_args()
    on_ray = (args.ray_address, args.num_gpus_per_worker) != (None, 0.)
    if args.engine != 'ray' and on_ray:
        parser.error('--ray-address and --num-gpus-per-worker need --engine '
                     'ray')
    return args


def make_engine(args: argparse.Namespace, settings: FleetSettings) -> Engine:
    """The engine of a command line."""
    if args.engine == 'serial':
        return SerialEngine(settings)
    if args.engine == 'local':
        return LocalEngine(settings, args.max_workers)
    return RayEngine(settings, args.max_workers, args.ray_address,
                     args.num_gpus_per_worker)


@one_line_errors
def main() -> None:
    """Run the fleet."""
    args = parse_args()
    if args.engine == 'ray':
        RayEngine.check()
    units, settings = prepare_fleet(args, args.inputs, args.out)
    report_fleet(
        lambda: run_fleet(units, settings, lambda: make_engine(args, settings)
                          ), settings.out)


if __name__ == '__main__':
    main()
