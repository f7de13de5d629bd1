# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .clip_targets import ClipTargets, FrameTargets, collate_slots
from .decoded_frame import DecodedFrame
from .dn_queries import DnQueries
from .frame_output import FrameOutput, LayerOutput
from .frame_result import (CODE, FRAME_LEVEL, VIEWS, FrameInstances,
                           FrameResult, class_name)
from .mask_codes import MAX_PIXELS, encode_masks
from .query_match import QueryMatch
from .running_scores import RunningScores
from .state_form import Values, check_form
from .track_merges import TrackMerges, chain_merges, merge_entries
from .tracklet import (FrameTracks, TrackletBatch, TrackletMemory,
                       interpolate_boxes)
from .video_result import VideoResult, best_pairs, to_results_json

__all__ = [
    'CODE', 'FRAME_LEVEL', 'MAX_PIXELS', 'VIEWS', 'ClipTargets',
    'DecodedFrame', 'DnQueries', 'FrameInstances', 'FrameOutput',
    'FrameResult', 'FrameTargets', 'FrameTracks', 'LayerOutput', 'QueryMatch',
    'RunningScores', 'TrackMerges', 'TrackletBatch', 'TrackletMemory',
    'Values', 'VideoResult', 'best_pairs', 'chain_merges', 'check_form',
    'class_name', 'collate_slots', 'encode_masks', 'interpolate_boxes',
    'merge_entries', 'to_results_json'
]
