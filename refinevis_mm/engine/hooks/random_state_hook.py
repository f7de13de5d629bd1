# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Random states in the checkpoint, for runs that resume exactly."""
import random
from typing import Optional, cast

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from refinevis_mm.registry import HOOKS

# Key of the states in a checkpoint.
STATE_KEY = 'random_state'


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Saves the trainer's random states and restores them on resuming.

    mmengine resumes the order of the data but not the generators of the
    training process, from which denoising noise and sampled mask points are
    drawn. With this hook, a fixed seed and at least one data loader worker a
    resumed run equals an uninterrupted one. A checkpoint holds the states of
    the first rank only: other ranks of a distributed run draw other noise.
    """

    def __init__(self) -> None:
        self._resumed: Optional[dict] = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the random states to a checkpoint.

        Args:
            runner (:obj:`Runner`): Not used.
            checkpoint (dict): Receives tensors and lists only, so that it
                can be read without unpickling code.
        """
        version, inner, gauss = random.getstate()
        kind, keys, pos, has_gauss, cached = cast(tuple, np.random.get_state())
        checkpoint[STATE_KEY] = dict(
            python=[version, list(inner), gauss],
            numpy=[
                kind,
                torch.from_numpy(keys.astype(np.int64)), pos, has_gauss, cached
            ],
            torch=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state_all()
            if torch.cuda.is_available() else [])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the states of a checkpoint until training goes on.

        Args:
            runner (:obj:`Runner`): Tells whether the run is resumed.
            checkpoint (dict): The loaded checkpoint.
        """
        if runner._resume and get_rank() == 0:
            self._resumed = checkpoint.get(STATE_KEY)

    def before_train_iter(self,
                          runner: Runner,
                          batch_idx: int,
                          data_batch: Optional[dict] = None) -> None:
        """Restore the states before the first resumed iteration.

        Not earlier: building the data loader draws random numbers.

        Args:
            runner (:obj:`Runner`): Not used.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
        """
        if self._resumed is None:
            return
        state, self._resumed = self._resumed, None
        version, inner, gauss = state['python']
        random.setstate((version, tuple(inner), gauss))
        kind, keys, pos, has_gauss, cached = state['numpy']
        np.random.set_state(
            (kind, keys.numpy().astype(np.uint32), pos, has_gauss, cached))
        torch.set_rng_state(state['torch'])
        if torch.cuda.is_available() and state['cuda']:
            torch.cuda.set_rng_state_all(state['cuda'])
