# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where the time of a frame or of a training step goes."""
from .arithmetic import FlopCounter, matmul_rate
from .comparison import (AGAINST, WorkerError, WorkerProcess, change,
                         run_pairs)
from .machine import LoadMeter
from .operators import count_operators
from .profile import Profile
from .report import format_pairs, format_report
from .settings import DTYPES, ProfileSettings
from .stage_timer import StageTimer
from .medians import compare, quartiles, spread, summarise
from .worker import serve

__all__ = [
    'AGAINST', 'DTYPES', 'FlopCounter', 'LoadMeter', 'Profile',
    'ProfileSettings', 'StageTimer', 'WorkerError', 'WorkerProcess', 'change',
    'compare', 'count_operators', 'format_pairs', 'format_report',
    'matmul_rate', 'quartiles', 'run_pairs', 'serve', 'spread', 'summarise'
]
