# Everyday objects in videos with IDOL's weights of COCO: 80 classes and an
# association head trained on pairs of augmented images.
_base_ = [
    '../_base_/models/idol_r50.py',
    '../_base_/datasets/custom_vis_idol_test.py',
    '../_base_/default_runtime.py'
]

model = dict(frame_model=dict(head=dict(num_classes=80)))
