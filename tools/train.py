# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Train a model from a config."""
import argparse
import os
from contextlib import nullcontext

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from refinevis_mm.compat.checkpoints import check_state_dict, read_checkpoint
from refinevis_mm.files import one_run
from refinevis_mm.utils import (add_runner_arguments, end_workers_with_parent,
                                init_cpu_distributed, merge_runner_arguments,
                                one_line_errors)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='train config file path')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='enable automatic mixed precision training (needs a GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size')
    parser.add_argument(
        '--resume',
        nargs='?',
        type=str,
        const='auto',
        help='resume from the given checkpoint, or without a value from the '
        'latest one in the work dir, if there is one')
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
        ValueError: If an option does not fit the config or the machine.
    """
    merge_runner_arguments(cfg, args)
    if args.amp:
        if get_device() == 'cpu':
            raise ValueError('--amp needs a GPU, but none was found')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError('--auto-scale-lr needs '
                             '"auto_scale_lr.base_batch_size" in the config')
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        _resume(cfg, args.resume)
    return cfg


def _resume(cfg: Config, checkpoint: str) -> None:
    """Continue from a checkpoint; 'auto' is the latest of the work dir and,
    where there is none yet, the start that the config describes."""
    if checkpoint == 'auto' and find_latest_checkpoint(cfg.work_dir) is None:
        return
    cfg.resume = True
    cfg.load_from = None if checkpoint == 'auto' else checkpoint


@one_line_errors
def main() -> None:
    """Train a model from a config."""
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    resumed = None
    if cfg.get('resume') and cfg.get('load_from') is not None:
        resumed = read_checkpoint(cfg.load_from)
    end_workers_with_parent()
    init_cpu_distributed(cfg)
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    if resumed is not None:
        check_state_dict(runner.model, resumed['state_dict'], cfg.load_from)
    with one_run(cfg.work_dir) if is_main_process() else nullcontext():
        runner.train()


if __name__ == '__main__':
    main()
