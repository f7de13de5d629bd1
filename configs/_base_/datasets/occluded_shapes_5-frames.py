# OccludedShapes in clips of five frames.
_base_ = ['./occluded_shapes.py']

sampling, *transforms = _base_.train_pipeline
train_pipeline = [dict(sampling, num_ref_imgs=4), *transforms]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
