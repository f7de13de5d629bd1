# Paper Table 5, row 2: jitter, but no refinement, in training neither. Row 4,
# with both, is the base.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(tar_head=None, tracklet_builder=None, temporal_cdn=None, window=0)
