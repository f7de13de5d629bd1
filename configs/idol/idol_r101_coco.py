_base_ = [
    '../_base_/models/idol_r101.py',
    '../_base_/datasets/custom_vis_idol_test.py',
    '../_base_/default_runtime.py'
]

model = dict(frame_model=dict(head=dict(num_classes=80)))
