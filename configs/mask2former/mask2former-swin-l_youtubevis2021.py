_base_ = [
    '../_base_/models/mask2former_swin-l_streaming.py',
    '../_base_/datasets/youtubevis2021_test.py', '../_base_/default_runtime.py'
]

num_classes = 40
model = dict(
    frame_model=dict(
        head=dict(
            num_things_classes=num_classes,
            loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]))))
