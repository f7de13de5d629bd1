# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .embedding_heads import EmbeddingHeads, InstanceHeads, predict_tracks
from .refiners import (BaseRefiner, OfflineRefiner, OnlineRefiner,
                       PassThroughRefiner, build_refiner)
from .tar_head import TARHead
from .training_tracklets import MatchedTrackletBuilder, TrackedTrackletBuilder

__all__ = [
    'BaseRefiner', 'EmbeddingHeads', 'InstanceHeads', 'MatchedTrackletBuilder',
    'OfflineRefiner', 'OnlineRefiner', 'PassThroughRefiner', 'TARHead',
    'TrackedTrackletBuilder', 'build_refiner', 'predict_tracks'
]
