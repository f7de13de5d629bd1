# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR in models that are not ours; mmtrack's is imported on demand."""
from .tar_mask2former_track_head import TARMask2FormerTrackHead
from .tar_mask2former_video import TARMask2FormerVideo

__all__ = ['TARMask2FormerTrackHead', 'TARMask2FormerVideo']
