# The shipped small model: trains on two CPU cores (see README.md).
_base_ = [
    '../_base_/models/refinevis_mobilenet-v2.py',
    '../_base_/datasets/occluded_shapes.py',
    '../_base_/schedules/schedule_small.py', '../_base_/default_runtime.py'
]

env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
