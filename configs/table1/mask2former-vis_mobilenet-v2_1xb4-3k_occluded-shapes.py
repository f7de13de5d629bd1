# Small Mask2Former-VIS: 3,000 iterations of four pairs of frames.
_base_ = [
    '../_base_/models/mask2former-vis_mobilenet-v2.py',
    '../_base_/datasets/occluded_shapes.py',
    '../_base_/schedules/schedule_small_1500_mask2former.py',
    '../_base_/small_runtime.py'
]

train_dataloader = dict(batch_size=4)

max_iters = 3000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
warm_up, annealing = _base_.param_scheduler
param_scheduler = [warm_up, dict(annealing, end=max_iters)]

# whole videos
val_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
