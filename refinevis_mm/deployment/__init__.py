# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Models as graphs: export, and other runtimes behind the same contract."""
from .export import MAX_TRACKLETS, export_model
from .exported_model import use_backend
from .formats import FORMATS, MIN_OPSET
from .manifest import Manifest
from .preprocessing import geometry_steps
from .runtimes import RUNTIMES

__all__ = [
    'FORMATS', 'MAX_TRACKLETS', 'MIN_OPSET', 'Manifest', 'RUNTIMES',
    'export_model', 'geometry_steps', 'use_backend'
]
