# Any data set in COCO form. For classes other than COCO's set the `metainfo`
# of the data sets to dict(classes=(...)) and the model's num_classes to their
# number.
dataset_type = 'CocoDataset'
data_root = 'data/custom_coco/'
train_ann_file = 'train.json'
train_img_prefix = 'train/'
val_ann_file = 'valid.json'
val_img_prefix = 'valid/'
metainfo = dict()  # empty: COCO's 80 classes
backend_args = None

image_size = (256, 256)  # (width, height) of the padded training images
test_scale = image_size  # (width, height) the test images are fitted into

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
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
    dict(type='Pad', size=image_size, pad_val=dict(img=128, masks=0)),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='Resize', scale=test_scale, keep_ratio=True, backend='pillow'),
    dict(type='PackDetInputs')
]

train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=train_ann_file,
        data_prefix=dict(img=train_img_prefix),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True),
        backend_args=backend_args,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=val_ann_file,
        data_prefix=dict(img=val_img_prefix),
        metainfo=metainfo,
        test_mode=True,
        backend_args=backend_args,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + val_ann_file,
    metric=['bbox', 'segm'],
    backend_args=backend_args)
test_evaluator = val_evaluator
