# Everyday objects, followed without training. The weights are mmdet's
# mask2former_r50_8xb2-lsj-50e_coco.
_base_ = [
    '../_base_/models/mask2former_r50_streaming.py',
    '../_base_/datasets/custom_vis_800_test.py', '../_base_/default_runtime.py'
]
