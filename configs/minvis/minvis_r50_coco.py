# Everyday objects in videos with the weights of an image model of COCO.
_base_ = [
    '../_base_/models/minvis_r50.py',
    '../_base_/datasets/custom_vis_800_test.py', '../_base_/default_runtime.py'
]
