# Phase 2 of the paper (Sec. 4.1): 30k iterations, drops at 15k and 25k. There
# is no video data set of these classes to validate on.
_base_ = ['./schedule_vis_13k.py']

max_iters = 30000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
val_cfg = None
test_cfg = None
param_scheduler = dict(milestones=[15000, 25000])
