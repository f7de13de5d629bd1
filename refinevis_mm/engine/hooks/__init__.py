# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .class_check_hook import ClassCheckHook
from .class_rows_hook import ClassRowsHook
from .iter_seed_hook import IterSeedHook
from .training_check_hook import TrainingCheckHook
from .vis_visualization_hook import VISVisualizationHook

__all__ = [
    'ClassCheckHook', 'ClassRowsHook', 'IterSeedHook', 'TrainingCheckHook',
    'VISVisualizationHook'
]
