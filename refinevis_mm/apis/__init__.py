# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RefineVIS in a few calls: build a model, stream a video, draw it."""
from .inference import (init_model, load_classes, stream_video,
                        stream_video_compared)
from .render import RenderedVideo, render_video

__all__ = [
    'RenderedVideo', 'init_model', 'load_classes', 'render_video',
    'stream_video', 'stream_video_compared'
]
