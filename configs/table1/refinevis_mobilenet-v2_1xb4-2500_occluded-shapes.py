# First phase of RefineVIS in the comparison of systems: half of the shipped
# one, 20,000 frames.
_base_ = ['../refinevis/refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py']

train_dataloader = dict(batch_size=4)

max_iters = 2500
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
warm_up, annealing = _base_.param_scheduler
param_scheduler = [warm_up, dict(annealing, end=max_iters)]
