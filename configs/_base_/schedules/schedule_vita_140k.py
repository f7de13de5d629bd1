# VITA on YouTube-VIS 2019: 140k iterations of 8 clips, drop at 75k. Norms,
# queries and level embeddings do not decay, as in schedule_minvis_6k.py.
_base_ = ['./schedule_minvis_6k.py']

max_iters = 140000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = dict(milestones=[75000])
