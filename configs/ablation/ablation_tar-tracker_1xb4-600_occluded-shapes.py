# Training tracklets from the tracker of inference, run over the clip with the
# relaxed thresholds, not from the matching.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

matched = _base_.model.tracklet_builder

model = dict(
    tracklet_builder=dict(
        _delete_=True,
        type='refinevis_mm.TrackedTrackletBuilder',
        iou_thr=matched.iou_thr,
        tracker=dict(
            _base_.model.tracker,
            select_score_thr=matched.score_thr,
            init_score_thr=matched.score_thr,
            new_score_thr=matched.score_thr,
            min_track_frames=1)))  # clips are shorter than short tracks
