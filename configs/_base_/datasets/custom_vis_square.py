# Any data set in YouTube-VIS form as squares: the sides of a frame are scaled
# each on its own, as RF-DETR was trained. 312 is the side of RF-DETR-Seg nano.
_base_ = ['./custom_vis.py']

side = 312
resize = dict(type='Resize', scale=(side, side), keep_ratio=False)

train_pipeline = [
    dict(
        type='refinevis_mm.KeyFirstFrameSample',
        num_ref_imgs=1,
        frame_range=10),
    dict(
        type='TransformBroadcaster',
        share_random_params=True,
        transforms=[
            dict(
                type='refinevis_mm.LoadFrame',
                backend_args=_base_.backend_args),
            dict(type='LoadTrackAnnotations', with_mask=True),
            dict(type='RandomFlip', prob=0.5),
            dict(
                type='RandomCrop',
                crop_size=(0.5, 0.5),  # at least this part of each side
                crop_type='relative_range',
                allow_negative_crop=True,
                recompute_bbox=True),
            resize,
            dict(type='refinevis_mm.FilterTrackAnnotations'),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]
test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(
                type='refinevis_mm.LoadFrame',
                backend_args=_base_.backend_args),
            resize,
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
