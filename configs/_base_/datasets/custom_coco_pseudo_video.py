# Any data set in COCO form as two-frame videos, each frame jittered on its
# own. For classes other than COCO's set the `metainfo` of the data set to
# dict(classes=(...)) and the model's num_classes to their number. There are no
# videos to validate on.
_base_ = ['./clip_meta_keys.py']

data_root = 'data/custom_coco/'
backend_args = None

image_size = (256, 256)  # (width, height) of the padded training frames

train_pipeline = [
    dict(type='refinevis_mm.KeyFirstFrameSample'),
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(type='refinevis_mm.LoadFrame', backend_args=backend_args),
            dict(type='LoadTrackAnnotations', with_mask=True),
            dict(type='RandomFlip', prob=0.5),
            dict(
                type='RandomResize',
                scale=image_size,
                ratio_range=(0.5, 2.0),
                resize_type='Resize',
                keep_ratio=True,
                backend='pillow'),
            dict(
                type='RandomCrop',
                crop_size=image_size,
                crop_type='absolute',
                allow_negative_crop=True,
                recompute_bbox=True),
            dict(type='refinevis_mm.FilterTrackAnnotations'),
            dict(type='Pad', size=image_size, pad_val=dict(img=128, masks=0)),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]

train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='refinevis_mm.CocoPseudoVideoDataset',
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img_path='train/'),
        backend_args=backend_args,
        pipeline=train_pipeline))
val_dataloader = None
test_dataloader = None
val_evaluator = None
test_evaluator = None
