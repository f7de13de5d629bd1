# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Many videos: units of work, workers in processes or on Ray, one result."""
from .command_line import FAILED, prepare_fleet, report_fleet, run_share
from .engine import Engine, Event, Kind
from .fleet_folder import FleetFolder
from .fleet_loop import FleetLoop
from .fleet_results import load_fleet_results
from .inputs import read_units, share_of
from .local_engine import LocalEngine
from .progress import FleetProgress
from .ray_engine import RayEngine
from .run_fleet import FleetSummary, run_fleet
from .serial_engine import SerialEngine
from .simulated_engine import (FleetCosts, SimulatedEngine, SimulatedFleet,
                               simulate_fleet)
from .timed_engine import TimedEngine
from .video_unit import VideoUnit, check_names
from .worker import (DEFAULT_OUTPUTS, FleetSettings, FleetWorker, VideoReport,
                     prepare_settings)

__all__ = [
    'DEFAULT_OUTPUTS', 'Engine', 'Event', 'FAILED', 'FleetCosts',
    'FleetFolder', 'FleetLoop', 'FleetProgress', 'FleetSettings',
    'FleetSummary', 'FleetWorker', 'Kind', 'LocalEngine', 'RayEngine',
    'SerialEngine', 'SimulatedEngine', 'SimulatedFleet', 'TimedEngine',
    'VideoReport', 'VideoUnit', 'check_names', 'load_fleet_results',
    'prepare_fleet', 'prepare_settings', 'read_units', 'report_fleet',
    'run_fleet', 'run_share', 'share_of', 'simulate_fleet'
]
