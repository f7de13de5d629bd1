# Paper Table 5, row 3: refinement, but frames of one size instead of jitter.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

sampling, broadcaster, *others = _base_.train_pipeline
resize = dict(type='Resize', scale=_base_.image_size, keep_ratio=True)
train_pipeline = [
    sampling,
    dict(
        broadcaster,
        transforms=[
            resize if transform['type'] == 'RandomResize' else transform
            for transform in broadcaster['transforms']
            if transform['type'] != 'RandomCrop'
        ]), *others
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
