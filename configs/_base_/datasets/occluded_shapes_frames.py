# OccludedShapes in clips of one frame.
_base_ = ['./occluded_shapes.py']

sampling, *transforms = _base_.train_pipeline
train_pipeline = [dict(sampling, num_ref_imgs=0), *transforms]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
