_base_ = [
    '../_base_/models/vita_r50.py',
    '../_base_/datasets/ovis_vita.py',
    '../_base_/schedules/schedule_vita_150k.py',
    '../_base_/default_runtime.py',
]

num_classes = 25
model = dict(
    frame_model=dict(
        head=dict(
            num_things_classes=num_classes,
            loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]))),
    clip_head=dict(num_classes=num_classes),
    max_per_video=20)
