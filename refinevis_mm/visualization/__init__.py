# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pictures: overlays, before/after strips, timelines, the HTML report."""
from refinevis_mm.utils.palette import instance_color
from .html_report import (FrameSpool, categories_of, check_fits, check_origin,
                          select_video, write_report)
from .refinement_strips import RefinementStrips
from .results_report import write_results_report
from .track_timeline import draw_timeline
from .vis_overlay import display_scale, draw_frame, draw_instances
from .vis_track_visualizer import VISTrackVisualizer

__all__ = [
    'FrameSpool', 'RefinementStrips', 'VISTrackVisualizer', 'categories_of',
    'check_fits', 'check_origin', 'display_scale', 'draw_frame',
    'draw_instances', 'draw_timeline', 'instance_color', 'select_video',
    'write_report', 'write_results_report'
]
