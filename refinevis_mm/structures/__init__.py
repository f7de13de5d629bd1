# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .clip_targets import ClipTargets, FrameTargets
from .dn_queries import DnQueries
from .frame_output import FrameOutput, LayerOutput
from .tracklet import FrameTracks, TrackletBatch, TrackletMemory
from .video_result import VideoResult, to_results_json

__all__ = [
    'ClipTargets', 'DnQueries', 'FrameOutput', 'FrameTargets', 'FrameTracks',
    'LayerOutput', 'TrackletBatch', 'TrackletMemory', 'VideoResult',
    'to_results_json'
]
