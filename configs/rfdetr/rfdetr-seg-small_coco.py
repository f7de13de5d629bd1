_base_ = ['./rfdetr-seg-nano_coco.py']

side = 384
test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(
                type='refinevis_mm.LoadFrame',
                backend_args=_base_.backend_args),
            dict(type='Resize', scale=(side, side), keep_ratio=False),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]

model = dict(frame_model=dict(size='small'))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
