# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .embedding_heads import EmbeddingHeads
from .refiners import OfflineRefiner, OnlineRefiner, PassThroughRefiner
from .tar_head import TARHead
from .training_tracklets import MatchedTrackletBuilder, TrackedTrackletBuilder

__all__ = [
    'EmbeddingHeads', 'MatchedTrackletBuilder', 'OfflineRefiner',
    'OnlineRefiner', 'PassThroughRefiner', 'TARHead', 'TrackedTrackletBuilder'
]
