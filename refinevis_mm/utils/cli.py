# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the command-line tools share."""
import argparse
import atexit
import ctypes
import functools
import gc
import os
import os.path as osp
import re
import signal
import sys
from typing import Callable, Tuple

import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.device import get_device

from ..compat.checkpoints import CheckpointError

__all__ = [
    'add_converter_arguments', 'add_model_arguments', 'add_runner_arguments',
    'add_shard_argument', 'add_source_arguments', 'end_workers_with_parent',
    'init_cpu_distributed', 'merge_runner_arguments', 'one_line',
    'one_line_errors'
]

TRACEBACK_ENV = 'REFINEVIS_TRACEBACK'
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
# what mmengine says of a missing file that the Makefile can make
MISSING_BACKBONE = re.compile(r'(data/\S+_imagenet\.pth) can not be found\.')


def one_line_errors(main: Callable[[], None]) -> Callable[[], None]:
    """Let a tool end with one line and exit code 1 on bad input.

    Bad input shows as ``OSError``, ``ValueError`` or ``CheckpointError``, a
    package that is not installed as ``ImportError``, an operator that needs
    one as ``NotImplementedError``; anything else keeps its traceback. With
    the environment variable ``REFINEVIS_TRACEBACK`` set, everything does.

    Args:
        main (Callable): The tool's main function.

    Returns:
        Callable: The wrapped function.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        try:
            main()
        except (OSError, ValueError, CheckpointError, ImportError,
                NotImplementedError) as error:
            if os.environ.get(TRACEBACK_ENV):
                raise
            sys.exit(f'error: {one_line(error)} '
                     f'(set {TRACEBACK_ENV}=1 for details)')

    return wrapped


def one_line(error: BaseException) -> str:
    """Say in one line what went wrong.

    Args:
        error (BaseException): What was raised.

    Returns:
        str: The last line of its text, or its kind where it has none.
    """
    lines = str(error).strip().splitlines()
    # errors of data loader workers carry a traceback in their text
    reason = lines[-1].strip() if lines else type(error).__name__
    reason = MISSING_BACKBONE.sub(r'\g<0> Run: make \1', reason)
    # names of files and classes may hold what moves the cursor
    return ''.join(char if char.isprintable() else f'\\x{ord(char):02x}'
                   for char in reason)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of :func:`refinevis_mm.apis.init_model`.

    Args:
        parser (argparse.ArgumentParser): Receives the arguments.
    """
    parser.add_argument(
        'config',
        help='name of weights (python -m refinevis_mm.zoo lists them), or '
        'config file path or name of a shipped config')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file or address, or name of its weights; left out '
        'where the config is a name of weights')


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of :func:`refinevis_mm.video_io.open_source`.

    Args:
        parser (argparse.ArgumentParser): Receives the options.
    """
    parser.add_argument(
        '--fps',
        type=float,
        help='frames per second, in place of the times of the input; '
        'default: the input\'s, 10 for images')
    parser.add_argument(
        '--start', help='first frame: its number (120) or time (12.5s, 1:02)')
    parser.add_argument(
        '--end', help='frame or time to stop at, which is left out')
    parser.add_argument(
        '--stride', type=int, default=1, help='take every n-th frame')
    parser.add_argument(
        '--max-size',
        type=int,
        help='scale frames down whose longer side has more pixels')


def add_shard_argument(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--shard i/n``, for tasks that share the videos out.

    The argument becomes (i - 1, n).

    Args:
        parser (argparse.ArgumentParser): Receives the option.
        text (str): What it does.
    """
    parser.add_argument(
        '--shard',
        type=_parse_shard,
        metavar='I/N',
        help=f'{text}; I from 1 to N, for sbatch --array=1-N')


def _parse_shard(text: str) -> Tuple[int, int]:
    """Read ``i/n``."""
    found = re.fullmatch(r'(\d+)/(\d+)', text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(
            f'it must be I/N with I from 1 to N, got {text!r}')
    return int(found[1]) - 1, int(found[2])


def add_converter_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that converters of COCO annotations share.

    Args:
        parser (argparse.ArgumentParser): Receives the options.
    """
    parser.add_argument(
        '--skip-bad-masks',
        action='store_true',
        help='leave out annotations that are a box alone, a point or the like '
        'and print their number')
    parser.add_argument(
        '--crowds-as-objects',
        action='store_true',
        help='take annotations with iscrowd 1 for objects, as the masks of '
        "CVAT's brush are")
    parser.add_argument(
        '--force', action='store_true', help='replace an existing file')


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share.

    Args:
        parser (argparse.ArgumentParser): Receives the options.
    """
    parser.add_argument('--work-dir', help='the dir to save logs and files')
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


def merge_runner_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Let the options of :func:`add_runner_arguments` override a config.

    Args:
        cfg (Config): The config; changed in place.
        args (argparse.Namespace): The command line, with ``config``.
    """
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('./work_dirs', name)


def init_cpu_distributed(cfg: Config) -> None:
    """Prepare distributed runs on machines without an accelerator.

    mmengine selects a CUDA device when it starts a process group and hands
    one to the model wrapper. Without an accelerator this starts the process
    group with gloo and clears the wrapper's devices; with one, or without a
    launcher, it does nothing.

    Args:
        cfg (Config): The runner's config with ``launcher`` set; changed in
            place.

    Raises:
        ValueError: If the launcher is not 'none' or 'pytorch' and there is
            no accelerator.
    """
    if cfg.get('launcher', 'none') == 'none' or get_device() != 'cpu':
        return
    if cfg.launcher != 'pytorch':
        raise ValueError('without an accelerator --launcher must be "none" '
                         f'or "pytorch", got "{cfg.launcher}"')
    if not dist.is_initialized():
        dist.init_process_group(backend='gloo')
        atexit.register(_end_process_group)
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


def end_workers_with_parent() -> None:
    """Let forked processes, such as data loader workers, die with this one.

    Workers of a process that is killed, by the kernel when memory runs out
    for example, may otherwise wait for ever for somebody to take their data.
    To be called, as workers are started, in the main thread: Linux, where
    alone it does something, means the thread that starts them.
    """
    if sys.platform == 'linux':
        prctl = ctypes.CDLL(None).prctl
        os.register_at_fork(
            after_in_child=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL))


def _end_process_group() -> None:
    """Join gloo's threads: one that still runs may abort the process at exit.

    They end with the last reference to the group, which a model wrapper has;
    its runner is in cycles.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()
