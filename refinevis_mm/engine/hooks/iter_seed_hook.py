# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A seed for each iteration, for runs that resume exactly."""
import random
from typing import Optional

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from refinevis_mm.registry import HOOKS


@HOOKS.register_module()
class IterSeedHook(Hook):
    """Seeds each training iteration by the run's seed, rank and iteration.

    mmengine resumes the order of the data but not the generators of the
    training processes, from which denoising noise and sampled mask points
    are drawn. With this hook there is nothing to resume: on all ranks these
    numbers depend on neither the iterations before nor on validation. With a
    fixed ``randomness.seed`` and data loader workers, which have generators
    of their own, a run of ``IterBasedTrainLoop`` that is resumed equals an
    uninterrupted one.
    """

    def before_train(self, runner: Runner) -> None:
        """Say that a run will not resume exactly.

        Args:
            runner (:obj:`Runner`): Of a training.
        """
        if runner.train_dataloader.num_workers == 0:
            runner.logger.warning(
                'with train_dataloader.num_workers=0 images are augmented by '
                'the random numbers of the training process, which resuming '
                'does not restore: a resumed run will differ from an '
                'uninterrupted one; num_workers=1 makes them equal')

    def before_train_iter(self,
                          runner: Runner,
                          batch_idx: int,
                          data_batch: Optional[dict] = None) -> None:
        """Seed Python, numpy and torch.

        Args:
            runner (:obj:`Runner`): Has ``seed`` and ``iter``.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
        """
        sequence = np.random.SeedSequence(
            [runner.seed, get_rank(), runner.iter])
        python_seed, numpy_seed, torch_seed = sequence.generate_state(3)
        random.seed(int(python_seed))
        np.random.seed(numpy_seed)
        torch.manual_seed(int(torch_seed))
