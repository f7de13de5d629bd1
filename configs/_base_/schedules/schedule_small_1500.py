# A phase of the comparison of systems: 1,500 iterations, with 8 frames each
# 12,000. The rules of schedule_small.py.
_base_ = ['./schedule_small.py']

max_iters = 1500
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
warm_up, annealing = _base_.param_scheduler
param_scheduler = [warm_up, dict(annealing, end=max_iters)]
