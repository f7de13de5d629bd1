# The weights are those of detectron2's instance model.
_base_ = [
    '../_base_/models/mask2former_swin-l_streaming.py',
    '../_base_/datasets/custom_vis_800_test.py', '../_base_/default_runtime.py'
]
