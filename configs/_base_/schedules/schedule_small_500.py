# A last phase of small models, 500 iterations from trained weights. The rules
# of schedule_small.py at half its learning rate.
_base_ = ['./schedule_small.py']

max_iters = 500
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
warm_up, annealing = _base_.param_scheduler
param_scheduler = [
    dict(warm_up, end=50),
    dict(annealing, begin=50, end=max_iters)
]
