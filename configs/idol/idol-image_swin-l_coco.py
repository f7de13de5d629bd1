_base_ = ['./idol-image_r50_coco.py', '../_base_/models/swin-l_backbone.py']

test_scale = (1333, 800)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=test_scale)

model = dict(
    backbone=dict(_base_.swin_l, _delete_=True, out_indices=(1, 2, 3)),
    frame_model=dict(neck=dict(in_channels=[384, 768, 1536])))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
