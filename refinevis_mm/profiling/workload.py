# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What all that can be measured has in common."""
from abc import ABCMeta, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Dict

import torch
from torch import nn

from .settings import DTYPES, ProfileSettings
from .stage_timer import StageTimer


class Workload(metaclass=ABCMeta):
    """What is repeated, and measured each time.

    Args:
        model (nn.Module): The model.
        settings (:obj:`ProfileSettings`): What is measured.
        timer (:obj:`StageTimer`): Told of stages that are no part of the
            model.

    Attributes:
        unit (str): 'frame' or 'training step'.
        num_units (int): How many of them one run has.
    """

    unit = 'frame'
    num_units = 1

    def __init__(self, model: nn.Module, settings: ProfileSettings,
                 timer: StageTimer) -> None:
        self.model = model
        self.settings = settings
        self.timer = timer

    def prepare(self) -> None:
        """Do before a run what is not measured."""

    @abstractmethod
    def __call__(self) -> None:
        """Run once."""

    @property
    def num_sampled(self) -> int:
        """int: Number of units in a :meth:`sample`."""
        return self.num_units

    def sample(self) -> None:
        """Run once, or less where that is enough to count operations."""
        self()

    def facts(self) -> Dict[str, Any]:
        """What a report adds to the times."""
        return {}

    def autocast(self) -> AbstractContextManager:
        """The context in which networks compute."""
        if self.settings.dtype is None:
            return nullcontext()
        return torch.autocast(
            torch.device(self.settings.device).type,
            DTYPES[self.settings.dtype])
