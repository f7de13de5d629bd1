# Paper Table 4: clips of 2 frames in training.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

sampling, *transforms = _base_.train_pipeline
train_pipeline = [dict(sampling, num_ref_imgs=1), *transforms]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
