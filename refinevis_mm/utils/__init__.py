# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Helpers that belong to no stage of the model."""
from .cli import (TRACEBACK_ENV, add_converter_arguments, add_model_arguments,
                  add_runner_arguments, add_shard_argument,
                  add_source_arguments, end_workers_with_parent,
                  init_cpu_distributed, merge_runner_arguments, one_line,
                  one_line_errors)

__all__ = [
    'TRACEBACK_ENV', 'add_converter_arguments', 'add_model_arguments',
    'add_runner_arguments', 'add_shard_argument', 'add_source_arguments',
    'end_workers_with_parent', 'init_cpu_distributed',
    'merge_runner_arguments', 'one_line', 'one_line_errors'
]
