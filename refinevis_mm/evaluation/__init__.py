# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The official video instance segmentation metric and others.

Tracking, recovered objects, the best tracklet of each object, DAVIS, images.
"""
from .best_tracklet import evaluate_best_tracklet
from .class_agnostic_coco import ClassAgnosticCocoMetric
from .davis_eval import evaluate_davis
from .finished_videos import FinishedVideos
from .identity_events import explain_identity
from .oracles import evaluate_oracles
from .recovery_eval import evaluate_recovery
from .tracking_eval import evaluate_tracking
from .vis_eval import evaluate_vis
from .vis_metric import VISMetric

__all__ = [
    'ClassAgnosticCocoMetric', 'FinishedVideos', 'VISMetric',
    'evaluate_best_tracklet', 'evaluate_davis', 'evaluate_oracles',
    'evaluate_recovery', 'evaluate_tracking', 'evaluate_vis',
    'explain_identity'
]
