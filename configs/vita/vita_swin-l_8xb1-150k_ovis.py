_base_ = [
    '../_base_/models/vita_swin-l.py',
    '../_base_/datasets/ovis_vita.py',
    '../_base_/schedules/schedule_vita_150k.py',
    '../_base_/schedules/swin-l_custom_keys.py',
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

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.swin_l_custom_keys))

test_pipeline = _base_.test_pipeline_448
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
