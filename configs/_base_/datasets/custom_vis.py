# Any data set in YouTube-VIS form. The classes are those of the JSON; set the
# model's num_classes to their number.
_base_ = ['./clip_meta_keys.py']

dataset_type = 'refinevis_mm.VISDataset'
data_root = 'data/custom_vis/'
train_ann_file = 'train.json'
train_img_prefix = 'train/JPEGImages/'
val_ann_file = 'valid.json'
val_img_prefix = 'valid/JPEGImages/'
backend_args = None

image_size = (320, 192)  # (width, height) of the padded training frames
test_scale = image_size  # (width, height) the test frames are fitted into

train_pipeline = [
    dict(
        type='refinevis_mm.KeyFirstFrameSample',
        num_ref_imgs=1,
        frame_range=10),
    dict(
        type='TransformBroadcaster',
        share_random_params=True,
        transforms=[
            dict(type='refinevis_mm.LoadFrame', backend_args=backend_args),
            dict(type='LoadTrackAnnotations', with_mask=True),
            dict(type='RandomFlip', prob=0.5),
            dict(
                type='RandomResize',
                scale=image_size,
                ratio_range=(0.5, 2.0),
                keep_ratio=True),
            dict(
                type='RandomCrop',
                crop_size=image_size,
                crop_type='absolute',
                allow_negative_crop=True,
                recompute_bbox=True),
            dict(type='refinevis_mm.FilterTrackAnnotations'),
            dict(type='Pad', size=image_size, pad_val=dict(img=114, masks=0)),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]
test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(type='refinevis_mm.LoadFrame', backend_args=backend_args),
            dict(type='Resize', scale=test_scale, keep_ratio=True),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=train_ann_file,
        data_prefix=dict(img_path=train_img_prefix),
        backend_args=backend_args,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='refinevis_mm.WholeVideoSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=val_ann_file,
        data_prefix=dict(img_path=val_img_prefix),
        backend_args=backend_args,
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='refinevis_mm.VISMetric', ann_file=data_root + val_ann_file)
test_evaluator = val_evaluator
