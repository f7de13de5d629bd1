_base_ = [
    '../_base_/models/mask2former_swin-t_streaming.py',
    '../_base_/datasets/custom_vis_800_test.py', '../_base_/default_runtime.py'
]
