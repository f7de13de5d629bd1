# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Helpers that belong to no stage of the model."""
from .cli import init_cpu_distributed, one_line_errors

__all__ = ['init_cpu_distributed', 'one_line_errors']
