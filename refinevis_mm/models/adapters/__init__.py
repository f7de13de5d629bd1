# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR in models that are not ours; mmtrack's is imported on demand."""
from .class_agnostic_rpn_head import ClassAgnosticRPNHead
from .tar_mask2former_track_head import TARMask2FormerTrackHead
from .tar_mask2former_video import TARMask2FormerVideo
from .tar_mask_track_rcnn import TARMaskTrackRCNN

__all__ = [
    'ClassAgnosticRPNHead', 'TARMask2FormerTrackHead', 'TARMask2FormerVideo',
    'TARMaskTrackRCNN'
]
