_base_ = [
    '../_base_/models/idol_swin-l.py',
    '../_base_/datasets/custom_vis_idol_test.py',
    '../_base_/default_runtime.py'
]

test_scale = (1333, 800)
test_pipeline = _base_.test_pipeline
test_pipeline[0].transforms[1].update(scale=test_scale)

model = dict(frame_model=dict(head=dict(num_classes=80)))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
