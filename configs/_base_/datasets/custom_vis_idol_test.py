# Test frames of any data set in YouTube-VIS form at the size of IDOL's models
# of COCO. For models that are not trained here.
_base_ = ['./custom_vis_800_test.py']

test_scale = (1333, 640)  # (long, short) side the frames are fitted into

test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(
                type='refinevis_mm.LoadFrame',
                backend_args=_base_.backend_args),
            dict(
                type='Resize',
                scale=test_scale,
                keep_ratio=True,
                backend='pillow'),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
