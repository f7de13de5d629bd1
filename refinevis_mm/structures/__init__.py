# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .clip_targets import ClipTargets, FrameTargets, collate_slots
from .dn_queries import DnQueries
from .frame_output import FrameOutput, LayerOutput
from .frame_result import FrameResult
from .query_match import QueryMatch
from .tracklet import (FrameTracks, TrackletBatch, TrackletMemory,
                       interpolate_boxes)
from .video_result import VideoResult, to_results_json

__all__ = [
    'ClipTargets', 'DnQueries', 'FrameOutput', 'FrameResult', 'FrameTargets',
    'FrameTracks', 'LayerOutput', 'QueryMatch', 'TrackletBatch',
    'TrackletMemory', 'VideoResult', 'collate_slots', 'interpolate_boxes',
    'to_results_json'
]
