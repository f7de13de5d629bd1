# MinVIS on OVIS: 10000 iterations, drop at 7000.
_base_ = ['./schedule_minvis_6k.py']

max_iters = 10000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = dict(milestones=[7000])
