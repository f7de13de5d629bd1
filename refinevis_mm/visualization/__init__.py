# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pictures: overlays, before/after figures, reading and writing videos."""
from .refinement_figure import (RefinementFigure, draw_panels, panel_scale,
                                refinement_change)
from .video_io import (FrameSource, ImageFilesSource, VideoFileSource,
                       VideoSink, open_source, output_folder, write_image)
from .vis_overlay import display_scale, draw_instances, instance_color

__all__ = [
    'FrameSource', 'ImageFilesSource', 'RefinementFigure', 'VideoFileSource',
    'VideoSink', 'display_scale', 'draw_instances', 'draw_panels',
    'instance_color', 'open_source', 'output_folder', 'panel_scale',
    'refinement_change', 'write_image'
]
