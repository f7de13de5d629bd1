# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where the time of a frame or of a training step goes."""
from .arithmetic import FlopCounter, matmul_rate
from .comparison import AGAINST, WorkerError, WorkerProcess, change, run_pairs
from .machine import QUIET, LoadMeter, peak_memory
from .medians import compare, quartiles, spread, summarise
from .operators import count_operators
from .profile import Profile
from .report import format_pairs, format_report
from .settings import DTYPES, ProfileSettings
from .stage_timer import StageTimer
from .suite import Case, frame_shape, list_cases, run_suite
from .worker import serve

__all__ = [
    'AGAINST', 'Case', 'DTYPES', 'FlopCounter', 'LoadMeter', 'Profile',
    'ProfileSettings', 'QUIET', 'StageTimer', 'WorkerError', 'WorkerProcess',
    'change', 'compare', 'count_operators', 'format_pairs', 'format_report',
    'frame_shape', 'list_cases', 'matmul_rate', 'peak_memory', 'quartiles',
    'run_pairs', 'run_suite', 'serve', 'spread', 'summarise'
]
