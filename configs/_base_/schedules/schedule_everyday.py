# Phases of the everyday model on one or two CPU cores, each with its own
# `max_iters`. The averaged weights are those that are validated, saved and
# handed to the next phase.
_base_ = ['./schedule_small.py']

max_iters = 3000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=100,
        end=max_iters,
        eta_min_ratio=0.05)
]
# ours: an average over about the last 1,000 steps, over fewer at the start
ema_hook = dict(
    type='EMAHook',
    ema_type='ExpMomentumEMA',
    momentum=0.001,
    gamma=200,
    update_buffers=True)
auto_scale_lr = dict(enable=False, base_batch_size=8)
