# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RefineVIS in a few calls: build a model, stream a video, draw it."""
from .command_line import INTERRUPTED
from .inference import find_checkpoint, init_model, load_classes, resolve_model
from .outputs import OUTPUTS, views_for
from .render import RenderedVideo, record_video, render_video
from .render_settings import check_settings, config_settings
from .session import Session
from .vis_inferencer import SOURCE_OPTIONS, VISInferencer

__all__ = [
    'INTERRUPTED', 'OUTPUTS', 'RenderedVideo', 'SOURCE_OPTIONS', 'Session',
    'VISInferencer', 'check_settings', 'config_settings', 'find_checkpoint',
    'init_model', 'load_classes', 'record_video', 'render_video',
    'resolve_model', 'views_for'
]
