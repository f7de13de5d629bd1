# All frames of a batch are refined at once, never frame after frame.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(tar_head=dict(recursive_prob=0.0))
