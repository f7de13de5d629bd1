# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Test a checkpoint with a config."""
import argparse
import hashlib
import json
import os
import os.path as osp
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Optional, Tuple

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from refinevis_mm.apis.backends import choose_backend
from refinevis_mm.apis.command_line import add_backend_arguments
from refinevis_mm.apis.inference import find_checkpoint, load_model_weights
from refinevis_mm.compat.checkpoints import read_file
from refinevis_mm.engine.samplers import WholeVideoSampler
from refinevis_mm.evaluation.finished_videos import FinishedVideos
from refinevis_mm.files import file_sha256, one_run
from refinevis_mm.utils import (add_runner_arguments, add_shard_argument,
                                end_workers_with_parent, init_cpu_distributed,
                                merge_runner_arguments, one_line_errors)
from refinevis_mm.vis_json import check_same_classes, classes_of

RESUME_DIR = 'unfinished_test'


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Test a checkpoint')
    parser.add_argument('config', help='test config file path')
    parser.add_argument(
        'checkpoint',
        help='checkpoint file or address, or name of weights (python -m '
        'refinevis_mm.zoo lists them)')
    parser.add_argument(
        '--out', help='also dump the predictions to this pickle file')
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='load what fits of a checkpoint of another architecture '
        'instead of refusing it')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='',
        metavar='DIR',
        help='keep the results of each finished video in DIR (default: '
        'unfinished_test in the work dir) and skip the videos that a killed '
        'run has left there')
    add_shard_argument(
        parser, 'test one share of the videos, whose results --resume keeps; '
        'the numbers come of a last run without it')
    add_backend_arguments(parser)
    add_runner_arguments(parser)
    args = parser.parse_args()
    if args.shard is not None and args.resume is None:
        parser.error('--shard needs --resume, for the results of all shares')
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
        ValueError: If there are no weights of this name, ``--out`` is not a
            pickle file, or ``--resume`` cannot be used.
        OSError: If the checkpoint cannot be fetched, or ``--resume`` cannot
            read it or write.
        CheckpointError: If the package rfdetr cannot fetch the checkpoint.
        ImportError: If that package is needed and not installed.
    """
    merge_runner_arguments(cfg, args)
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise ValueError(f'--out must end in .pkl or .pickle, got {args.out}')
    cfg.load_from, cfg.resume = find_checkpoint(args.checkpoint)[0], False
    if args.resume is not None:
        if args.out is not None:
            raise ValueError('--out needs the predictions of all videos, '
                             'which --resume skips')
        set_resume(cfg, args.resume or osp.join(cfg.work_dir, RESUME_DIR),
                   args.shard)
    return cfg


def set_resume(cfg: Config,
               folder: str,
               shard: Optional[Tuple[int, int]] = None) -> None:
    """Let a test skip the videos that a killed run has finished.

    Args:
        cfg (Config): The config; changed in place.
        folder (str): Where the results of finished videos are kept.
        shard (tuple[int, int], optional): Position, from 0, and number of
            tasks that share the videos out. Defaults to None.

    Raises:
        ValueError: If the config does not test frame by frame with
            ``VISMetric`` alone, or the folder belongs to another test.
        OSError: If the checkpoint cannot be read or the folder not written.
    """
    sampler = cfg.test_dataloader.sampler
    if sampler.type.split('.')[-1] != WholeVideoSampler.__name__:
        raise ValueError('--resume needs WholeVideoSampler, got '
                         f'{sampler.type}')
    metrics = cfg.test_evaluator
    for metric in metrics if isinstance(metrics, list) else [metrics]:
        if metric.type.split('.')[-1] != 'VISMetric':
            raise ValueError('--resume needs VISMetric alone, since skipped '
                             f'videos are its results only, got {metric.type}')
        metric.resume_dir = folder
        metric.evaluate_later = shard is not None
    sampler.shard = shard
    sampler.resume_dir = folder
    FinishedVideos(folder).claim(fingerprint(cfg))


def fingerprint(cfg: Config) -> str:
    """What the results of a video depend on: weights, model and data.

    Args:
        cfg (Config): The config.

    Returns:
        str: Two hashes, of the checkpoint and of the config.

    Raises:
        OSError: If the checkpoint cannot be read.
    """
    weights = file_sha256(cfg.load_from)
    parts = {key: cfg.get(key) for key in ('model', 'test_cfg')}
    parts['dataset'] = cfg.test_dataloader.dataset
    text = json.dumps(parts, sort_keys=True, default=str)
    config = hashlib.sha256(text.encode()).hexdigest()
    return f'checkpoint {weights}\nconfig {config}\n'


@one_line_errors
def main() -> None:
    """Test a checkpoint with a config."""
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    path, cfg.load_from = cfg.load_from, None  # loaded strictly below
    read_file(path, allowed=(argparse.Namespace, SimpleNamespace))  # early
    end_workers_with_parent()
    init_cpu_distributed(cfg)
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    classes = load_model_weights(runner.model, path, args.allow_mismatch)
    tested = classes_of(
        getattr(runner.test_dataloader.dataset, 'metainfo', None))
    if classes and tested and not args.allow_mismatch:
        check_same_classes(
            classes, tested, 'the checkpoint and the test data',
            'set test_dataloader.dataset.metainfo.classes to those of the '
            'checkpoint, or allow it with --allow-mismatch')
    model = runner.model.module if is_model_wrapper(
        runner.model) else runner.model
    model.cfg, model.classes = cfg, classes
    choose_backend(model, args.backend, args.graphs, args.threads)
    if args.out is not None:
        runner.test_evaluator.metrics.append(
            DumpResults(out_file_path=args.out))
    folder = cfg.test_dataloader.sampler.get('resume_dir')
    if args.shard is not None:  # tasks of other shares use it, too
        folder = osp.join(
            folder, '.share-{}-of-{}'.format(args.shard[0] + 1, args.shard[1]))
    with one_run(folder) if folder and is_main_process() else nullcontext():
        runner.test()


if __name__ == '__main__':
    main()
