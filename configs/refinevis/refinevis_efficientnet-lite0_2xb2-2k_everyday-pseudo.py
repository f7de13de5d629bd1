# Everyday model, phase 2: images as two-frame videos, with association and
# TAR.
_base_ = [
    '../_base_/models/refinevis_efficientnet-lite0.py',
    '../_base_/datasets/everyday_pseudo_video.py',
    '../_base_/schedules/schedule_everyday.py', '../_base_/default_runtime.py'
]

load_from = ('work_dirs/maskdino_efficientnet-lite0_2xb2-2500_everyday-320/'
             'iter_2500.pth')

max_iters = 2000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters)
]
auto_scale_lr = dict(base_batch_size=4)
custom_hooks = [_base_.ema_hook]
default_hooks = dict(checkpoint=dict(interval=250))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
