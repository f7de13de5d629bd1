# Everyday model, phase 3, the shipped one: clips made of images alone, with
# both denoising extensions of the paper.
_base_ = [
    '../_base_/models/refinevis_efficientnet-lite0.py',
    '../_base_/datasets/everyday_moving.py',
    '../_base_/schedules/schedule_everyday.py', '../_base_/default_runtime.py'
]

load_from = ('work_dirs/refinevis_efficientnet-lite0_2xb2-2k_everyday-pseudo/'
             'iter_2000.pth')
model = dict(
    association_cdn=dict(
        _delete_=True, type='refinevis_mm.AssociationCDN', loss_weight=1.0),
    temporal_cdn=dict(
        _delete_=True, type='refinevis_mm.TemporalCDN', loss_weight=1.0),
    tar_head=dict(drop_prob=0.3, recursive_prob=0.5))

max_iters = 1000
train_cfg = dict(max_iters=max_iters, val_interval=500)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters)
]
auto_scale_lr = dict(base_batch_size=4)
custom_hooks = [_base_.ema_hook]
default_hooks = dict(checkpoint=dict(interval=250))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
