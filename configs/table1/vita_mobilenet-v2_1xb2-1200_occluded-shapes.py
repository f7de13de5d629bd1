# Small VITA: 1,200 iterations of two clips of five frames, at half the
# learning rate of the others.
_base_ = [
    '../_base_/models/vita_mobilenet-v2.py',
    '../_base_/datasets/occluded_shapes_5-frames.py',
    '../_base_/schedules/schedule_small_1500_mask2former.py',
    '../_base_/small_runtime.py'
]

max_iters = 1200
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
warm_up, annealing = _base_.param_scheduler
param_scheduler = [warm_up, dict(annealing, end=max_iters)]
optim_wrapper = dict(optimizer=dict(lr=2e-4))

load_from = \
    'work_dirs/mask2former_mobilenet-v2_1xb8-1500_occluded-shapes/' \
    'iter_1500.pth'
