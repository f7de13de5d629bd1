# Second phase of RefineVIS in the comparison of systems: 4,000 frames, and
# tested as the shipped model is.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-stitching.py'
]

max_iters = 500
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
warm_up, annealing = _base_.param_scheduler
param_scheduler = [warm_up, dict(annealing, end=max_iters)]
default_hooks = dict(checkpoint=dict(interval=max_iters))

load_from = \
    'work_dirs/refinevis_mobilenet-v2_1xb4-2500_occluded-shapes/iter_2500.pth'
