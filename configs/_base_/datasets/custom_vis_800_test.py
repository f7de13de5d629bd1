# Test frames of any data set in YouTube-VIS form at the size of COCO models.
# For models that are not trained here.
_base_ = ['./custom_vis.py']

test_scale = (1333, 800)  # (width, height) the test frames are fitted into

test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(
                type='refinevis_mm.LoadFrame',
                backend_args=_base_.backend_args),
            dict(type='Resize', scale=test_scale, keep_ratio=True),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_cfg = dict(type='TestLoop')
train_dataloader = None
val_dataloader = None
val_evaluator = None
