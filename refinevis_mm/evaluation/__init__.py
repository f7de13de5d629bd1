# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The official video instance segmentation metric and others.

Identities, recovered objects, the best tracklet of each object, and images.
"""
from .best_tracklet import evaluate_best_tracklet
from .class_agnostic_coco import ClassAgnosticCocoMetric
from .finished_videos import FinishedVideos
from .identity_eval import evaluate_identity
from .recovery_eval import evaluate_recovery
from .vis_eval import evaluate_vis
from .vis_metric import VISMetric

__all__ = [
    'ClassAgnosticCocoMetric', 'FinishedVideos', 'VISMetric',
    'evaluate_best_tracklet', 'evaluate_identity', 'evaluate_recovery',
    'evaluate_vis'
]
