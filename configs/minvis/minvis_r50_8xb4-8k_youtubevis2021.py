_base_ = [
    '../_base_/models/minvis_r50.py',
    '../_base_/datasets/youtubevis2021_minvis.py',
    '../_base_/schedules/schedule_minvis_8k.py', '../_base_/default_runtime.py'
]

num_classes = 40
model = dict(
    frame_model=dict(
        head=dict(
            num_things_classes=num_classes,
            loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]))))
