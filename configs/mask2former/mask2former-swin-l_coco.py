# The weights are those of a panoptic model, of which the things are followed.
_base_ = [
    '../_base_/models/mask2former_swin-l_streaming.py',
    '../_base_/datasets/custom_vis_800_test.py', '../_base_/default_runtime.py'
]

num_stuff = 53
model = dict(
    frame_model=dict(
        head=dict(
            num_stuff_classes=num_stuff,
            loss_cls=dict(class_weight=[1.0] * (80 + num_stuff) + [0.1]))))
