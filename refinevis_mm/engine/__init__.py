# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the Runner is extended by."""
from .hooks import (ClassCheckHook, ClassRowsHook, IterSeedHook,
                    TrainingCheckHook, VISVisualizationHook)
from .optimizers import GroupedAdamW
from .samplers import SourceRatioSampler, VideoBatchSampler, WholeVideoSampler

__all__ = [
    'ClassCheckHook', 'ClassRowsHook', 'GroupedAdamW', 'IterSeedHook',
    'SourceRatioSampler', 'TrainingCheckHook', 'VideoBatchSampler',
    'VISVisualizationHook', 'WholeVideoSampler'
]
