# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Test a checkpoint with a config."""
import argparse
import os
import os.path as osp

from mmengine.config import Config, DictAction
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from refinevis_mm.compat.checkpoints import check_state_dict, read_checkpoint
from refinevis_mm.utils import init_cpu_distributed, one_line_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Test a checkpoint')
    parser.add_argument('config', help='test config file path')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='the dir to save logs and results')
    parser.add_argument(
        '--out', help='also dump the predictions to this pickle file')
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='load what fits of a checkpoint of another architecture '
        'instead of refusing it')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs; a list '
        'is given as key="[a,b]" or key=a,b, nested values as '
        'key="[(a,b),(c,d)]", without white space')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher')
    # torch.distributed.launch passes --local-rank, before torch 2.0
    # --local_rank
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
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
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('./work_dirs', name)
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
