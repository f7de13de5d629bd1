# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Models that are not ours: TAR in them, and segmenters that are followed.

mmtrack's is imported on demand.
"""
from .class_agnostic_rpn_head import ClassAgnosticRPNHead
from .segmenters import CallableSegmenter, MMDetSegmenter, Segmenter
from .tar_mask2former_track_head import TARMask2FormerTrackHead
from .tar_mask2former_video import TARMask2FormerVideo
from .tar_mask_track_rcnn import TARMaskTrackRCNN
from .tracked_segmenter import TrackedSegmenter

__all__ = [
    'CallableSegmenter', 'ClassAgnosticRPNHead', 'MMDetSegmenter', 'Segmenter',
    'TARMask2FormerTrackHead', 'TARMask2FormerVideo', 'TARMaskTrackRCNN',
    'TrackedSegmenter'
]
