_base_ = [
    '../_base_/models/ctvis_r50.py', '../_base_/datasets/ovis_minvis.py',
    '../_base_/default_runtime.py'
]

num_classes = 25
model = dict(
    frame_model=dict(
        head=dict(
            num_things_classes=num_classes,
            loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]))),
    max_per_video=num_classes)

test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline_480))
test_evaluator = dict(outfile_prefix='work_dirs/ctvis_ovis/results')
test_cfg = dict(type='TestLoop')
train_dataloader = None
val_dataloader = None
val_evaluator = None
