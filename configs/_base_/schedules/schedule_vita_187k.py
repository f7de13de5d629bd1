# VITA on YouTube-VIS 2021: 187500 iterations, drop at 100k.
_base_ = ['./schedule_vita_140k.py']

max_iters = 187500
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = dict(milestones=[100000])
