# No frames dropped in training: zeros only where the frame model missed.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(tar_head=dict(drop_prob=0.0))
