# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Association: contrastive embeddings, their loss and the online tracker."""
from .contrastive_head import ContrastiveHead
from .contrastive_loss import (aux_cosine_loss, contrastive_loss,
                               sample_negatives)
from .contrastive_tracker import ContrastiveTracker
from .ota_assigner import CenterPriorCost, OTAAssigner
from .query_matcher import QueryMatcher
from .reference_pairs import (IoUPairSelector, OTAPairSelector, PairSelector,
                              ReferencePairs)
from .similarity import bisoftmax_similarity, mask_iou
from .stitching_tracker import StitchingTracker
from .streaming_tracker import StreamingTracker
from .tracker import (MergingTracker, Tracker, find_delay, find_last_merges,
                      find_merges)

__all__ = [
    'CenterPriorCost', 'ContrastiveHead', 'ContrastiveTracker',
    'IoUPairSelector', 'MergingTracker', 'OTAAssigner', 'OTAPairSelector',
    'PairSelector', 'QueryMatcher', 'ReferencePairs', 'StitchingTracker',
    'StreamingTracker', 'Tracker', 'aux_cosine_loss', 'bisoftmax_similarity',
    'contrastive_loss', 'find_delay', 'find_last_merges', 'find_merges',
    'mask_iou', 'sample_negatives'
]
