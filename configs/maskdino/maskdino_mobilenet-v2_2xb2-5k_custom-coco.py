# Any data set in COCO form, on one or two CPU cores: set `data_root`, the
# files and the classes, e.g. with --cfg-options.
_base_ = [
    '../_base_/models/maskdino_mobilenet-v2.py',
    '../_base_/datasets/custom_coco.py',
    '../_base_/schedules/schedule_small.py', '../_base_/coco_runtime.py'
]

env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
