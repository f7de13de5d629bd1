# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RefineVIS in a few calls: build a model, stream a video, draw it."""
from .inference import init_model, load_classes
from .render import RenderedVideo, record_video, render_video
from .session import Session
from .vis_inferencer import VISInferencer

__all__ = [
    'RenderedVideo', 'Session', 'VISInferencer', 'init_model', 'load_classes',
    'record_video', 'render_video'
]
