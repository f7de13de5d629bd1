# Any data set in YouTube-VIS form: set `data_root`, the files and the number
# of classes, e.g. with --cfg-options (see README.md, "Your own data").
_base_ = [
    '../_base_/models/refinevis_mobilenet-v2.py',
    '../_base_/datasets/custom_vis.py',
    '../_base_/schedules/schedule_small.py', '../_base_/default_runtime.py'
]

env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
