# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the Runner is extended by."""
from .hooks import (ClassCheckHook, ClassRowsHook, RandomStateHook,
                    VISVisualizationHook)
from .samplers import SourceRatioSampler, UnfinishedVideoSampler

__all__ = [
    'ClassCheckHook', 'ClassRowsHook', 'RandomStateHook', 'SourceRatioSampler',
    'UnfinishedVideoSampler', 'VISVisualizationHook'
]
