# MinVIS on YouTube-VIS 2021: 8000 iterations, drop at 5500.
_base_ = ['./schedule_minvis_6k.py']

max_iters = 8000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = dict(milestones=[5500])
