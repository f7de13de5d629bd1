# VITA on OVIS: 150k iterations, drops at 50k and 125k.
_base_ = ['./schedule_vita_140k.py']

max_iters = 150000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = dict(milestones=[50000, 125000])
