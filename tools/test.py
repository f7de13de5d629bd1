# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Test a checkpoint with a config."""
import argparse
import os

from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from refinevis_mm.compat.checkpoints import check_state_dict, read_checkpoint
from refinevis_mm.utils import (add_runner_arguments, init_cpu_distributed,
                                merge_runner_arguments, one_line_errors)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Test a checkpoint')
    parser.add_argument('config', help='test config file path')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', help='also dump the predictions to this pickle file')
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='load what fits of a checkpoint of another architecture '
        'instead of refusing it')
    add_runner_arguments(parser)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Let the command line override the config.

    Args:
        cfg (Config): The config; changed in place.
        args (argparse.Namespace): The command line.

    Returns:
        Config: The config.

    Raises:
        ValueError: If ``--out`` is not a pickle file.
    """
    merge_runner_arguments(cfg, args)
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise ValueError(f'--out must end in .pkl or .pickle, got {args.out}')
    cfg.load_from, cfg.resume = args.checkpoint, False
    return cfg


@one_line_errors
def main() -> None:
    """Test a checkpoint with a config."""
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    checkpoint = read_checkpoint(args.checkpoint)
    init_cpu_distributed(cfg)
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    if not args.allow_mismatch:
        check_state_dict(runner.model, checkpoint['state_dict'],
                         args.checkpoint)
    if args.out is not None:
        runner.test_evaluator.metrics.append(
            DumpResults(out_file_path=args.out))
    runner.test()


if __name__ == '__main__':
    main()
