# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Settings of a training that mmengine takes and that do not work."""
from typing import Any, Iterator, Tuple

from mmdet.datasets.samplers import MultiSourceSampler
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop

from refinevis_mm.registry import HOOKS
from ..samplers import SourceRatioSampler

ENDLESS_SAMPLERS = (InfiniteSampler, MultiSourceSampler, SourceRatioSampler)
NUM_SAMPLES = 'num_samples'  # key in the meta of a checkpoint
# of the state of a parameter scheduler, what is no setting
MOVING = ('_global_step', '_last_value', 'anneal_func', 'best',
          'cooldown_counter', 'last_step', 'num_bad_epochs', 'verbose')


@HOOKS.register_module()
class TrainingCheckHook(Hook):
    """Refuses a training that cannot work, and tells what resuming ignores.

    Refused are epochs over a sampler that has no end, and ``compile``, since
    mmengine compiles the optimizer's step as well, which torch 2.13 cannot.
    On resuming, mmengine takes the parameter schedule from the checkpoint:
    where the config has another one, or the data another number of samples,
    a warning says so.
    """

    def before_run(self, runner: Runner) -> None:
        """Refuse what cannot work.

        Args:
            runner (:obj:`Runner`): With the loops of this run built.

        Raises:
            ValueError: Naming the setting and what to set instead.
        """
        loop = runner._train_loop
        if runner.cfg.get('compile') and isinstance(loop, BaseLoop):
            raise ValueError(
                'training cannot be compiled: compile must be False, got '
                f'{runner.cfg["compile"]}')
        if isinstance(loop, EpochBasedTrainLoop):
            sampler = loop.dataloader.sampler
            if isinstance(sampler, ENDLESS_SAMPLERS):
                raise ValueError(
                    'EpochBasedTrainLoop needs a sampler that ends, got '
                    f'{type(sampler).__name__}; set train_dataloader.sampler='
                    "dict(_delete_=True, type='DefaultSampler', shuffle=True)")
            if loop.dataloader.num_workers and \
                    not loop.dataloader.persistent_workers:
                runner.logger.warning(
                    'workers are started anew for each epoch, all with the '
                    'same seed: every epoch augments by the same random '
                    'numbers; set train_dataloader.persistent_workers=True')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the number of training samples.

        Args:
            runner (:obj:`Runner`): Of a training.
            checkpoint (dict): Its ``meta`` receives 'num_samples'.
        """
        checkpoint['meta'][NUM_SAMPLES] = len(runner.train_dataloader.dataset)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Tell what a resumed run keeps of the old one.

        Args:
            runner (:obj:`Runner`): Tells whether the run is resumed.
            checkpoint (dict): The loaded checkpoint.
        """
        if not runner._resume:
            return
        changes = [
            f'{name} is {old} there and {new} in the config'
            for name, old, new in _schedule_changes(runner, checkpoint)
        ]
        if changes:
            runner.logger.warning(
                'the parameter schedule of the checkpoint goes on: '
                f'{"; ".join(changes)}. A new schedule needs a new run, with '
                'load_from in the place of resume')
        old = checkpoint.get('meta', {}).get(NUM_SAMPLES)
        new = len(runner.train_dataloader.dataset)
        if old not in (None, new):
            runner.logger.warning(
                f'the training data have {new} samples, those of the '
                f'checkpoint had {old}: the order of the samples is another')


def _schedule_changes(runner: Runner,
                      checkpoint: dict) -> Iterator[Tuple[str, Any, Any]]:
    """Settings of the schedulers with their values in a checkpoint and here.

    Looked at are the schedulers of one optimizer.
    """
    old, new = checkpoint.get('param_schedulers'), runner.param_schedulers
    if not isinstance(old, list) or not isinstance(new, list):
        return
    if len(old) != len(new):
        yield 'len(param_scheduler)', len(old), len(new)
        return
    for index, (state, scheduler) in enumerate(zip(old, new)):
        for key, value in scheduler.state_dict().items():
            if key not in MOVING and state.get(key) != value:
                yield f'param_scheduler.{index}.{key}', state.get(key), value
