# Everyday objects in videos with VITA's own weights of COCO, which were
# trained on images as clips of one frame.
_base_ = [
    '../_base_/models/vita_swin-l.py',
    '../_base_/datasets/custom_vis_800_test.py', '../_base_/default_runtime.py'
]

num_classes = 80
model = dict(
    frame_model=dict(
        head=dict(
            num_things_classes=num_classes,
            loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]))),
    clip_head=dict(num_classes=num_classes))
