# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Training steps on random input, or on the data of a config."""
from typing import Any, Dict, Iterator

import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from refinevis_mm.models import RefineVIS
from .random_input import (CLIP_LENGTH, random_clip, random_images,
                           random_sample)
from .settings import ProfileSettings
from .stage_timer import StageTimer
from .workload import Workload

# So small that the weights stay what they are.
LEARNING_RATE = 1e-6


class TrainingSteps(Workload):
    """Forward pass, losses, backward pass and optimiser.

    The optimiser is that of the config, with all its groups of parameters,
    or AdamW where it has none. Input and objects are random.

    Args: See :class:`Workload`.
    """

    unit = 'training step'

    def __init__(self, model: nn.Module, settings: ProfileSettings,
                 timer: StageTimer) -> None:
        super().__init__(model, settings, timer)
        self.optim_wrapper = _build_optimiser(model, settings)
        for stage, method in (('backward', 'backward'), ('optimiser', 'step'),
                              ('optimiser', 'zero_grad')):
            timer.wrap(self.optim_wrapper, method, stage)
        self.prepare()

    def prepare(self) -> None:
        """See :meth:`Workload.prepare`."""
        settings = self.settings
        batch_size = settings.batch_size or 1
        if isinstance(self.model, RefineVIS):
            self._images = random_images(settings, batch_size, CLIP_LENGTH)
            self._samples = [random_clip(settings) for _ in range(batch_size)]
        else:
            self._images = random_images(settings, batch_size)
            self._samples = [
                random_sample(settings) for _ in range(batch_size)
            ]

    def __call__(self) -> None:
        """See :meth:`Workload.__call__`."""
        with self.autocast():
            losses = self.losses()
        loss, _ = self.model.parse_losses(losses)
        self.optim_wrapper.update_params(loss)

    def losses(self) -> Dict[str, Tensor]:
        """Losses of a batch."""
        return self.model.loss(self._images, self._samples)

    def facts(self) -> Dict[str, Any]:
        """See :meth:`Workload.facts`."""
        groups = self.optim_wrapper.param_groups
        return dict(
            parameter_groups=len(groups),
            parameters=sum(param.numel() for group in groups
                           for param in group['params']))


class DataTrainingSteps(TrainingSteps):
    """The same on the data of a config, loaded in this process.

    Args: See :class:`Workload`.

    Raises:
        ValueError: If the config has no training data.
        OSError: If they are missing.
    """

    def __init__(self, model: nn.Module, settings: ProfileSettings,
                 timer: StageTimer) -> None:
        cfg = model.cfg
        if cfg.get('train_dataloader') is None:
            raise ValueError(f'config "{settings.config}" must have a '
                             '"train_dataloader"')
        loader = dict(
            cfg.train_dataloader, num_workers=0, persistent_workers=False)
        if settings.batch_size is not None:
            loader['batch_size'] = settings.batch_size
        self._batches = timer.timed_items(
            'data loading', self._endless(Runner.build_dataloader(loader, 0)))
        super().__init__(model, settings, timer)

    @staticmethod
    def _endless(loader: Any) -> Iterator[dict]:
        """All batches, over and over."""
        while True:
            yield from loader

    def prepare(self) -> None:
        """See :meth:`Workload.prepare`; loading is measured."""

    def losses(self) -> Dict[str, Tensor]:
        """Losses of the next batch."""
        data = self.model.data_preprocessor(next(self._batches), True)
        return self.model(**data, mode='loss')


def _build_optimiser(model: nn.Module,
                     settings: ProfileSettings) -> OptimWrapper:
    """The optimiser of the config with a tiny learning rate."""
    cfg = dict(
        model.cfg.get('optim_wrapper')
        or dict(type='OptimWrapper', optimizer=dict(type='AdamW')))
    cfg['optimizer'] = dict(cfg['optimizer'], lr=LEARNING_RATE)
    if settings.dtype == 'float16':  # gradients need a scale
        cfg.update(type='AmpOptimWrapper', loss_scale='dynamic')
        cfg.setdefault('dtype', 'float16')
        if not torch.cuda.is_available():
            raise ValueError('training in float16 needs a GPU, none was found')
    return build_optim_wrapper(model, cfg)
