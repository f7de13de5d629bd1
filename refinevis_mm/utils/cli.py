# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the command-line tools share."""
import functools
import os
import sys
from typing import Callable

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device

from ..compat.checkpoints import CheckpointError

__all__ = ['one_line_errors', 'init_cpu_distributed']

TRACEBACK_ENV = 'REFINEVIS_TRACEBACK'


def one_line_errors(main: Callable[[], None]) -> Callable[[], None]:
    """Let a tool end with one line and exit code 1 on bad input.

    Bad input shows as ``OSError``, ``ValueError`` or ``CheckpointError``;
    anything else keeps its traceback. With the environment variable
    ``REFINEVIS_TRACEBACK`` set, everything does.

    Args:
        main (Callable): The tool's main function.

    Returns:
        Callable: The wrapped function.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        try:
            main()
        except (OSError, ValueError, CheckpointError) as error:
            if os.environ.get(TRACEBACK_ENV):
                raise
            lines = str(error).strip().splitlines()
            # errors of data loader workers carry a traceback in their text
            reason = lines[-1].strip() if lines else type(error).__name__
            sys.exit(f'error: {reason} (set {TRACEBACK_ENV}=1 for details)')

    return wrapped


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
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
