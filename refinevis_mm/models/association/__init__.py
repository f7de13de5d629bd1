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
from .streaming_tracker import StreamingTracker
from .tracker import Tracker

__all__ = [
    'CenterPriorCost', 'ContrastiveHead', 'ContrastiveTracker',
    'IoUPairSelector', 'OTAAssigner', 'OTAPairSelector', 'PairSelector',
    'QueryMatcher', 'ReferencePairs', 'StreamingTracker', 'Tracker',
    'aux_cosine_loss', 'bisoftmax_similarity', 'contrastive_loss', 'mask_iou',
    'sample_negatives'
]
