# Everyday objects, followed without training: the smallest and fastest.
_base_ = [
    '../_base_/models/rfdetr-seg_streaming.py',
    '../_base_/datasets/custom_vis_square_test.py',
    '../_base_/default_runtime.py'
]
