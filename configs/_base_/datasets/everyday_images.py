# Phase 1 of the everyday model: COCO images of people, animals and vehicles,
# made by tools/dataset_converters/make_everyday.py. Half of the images have
# all objects labelled, half one person; ignored regions (`ignored_instances`)
# are crowds and the unlabelled rest of the latter. Images without objects are
# kept: they are background. Another size of the training images:
#     image_size = (320, 320)
#     sizes = dict(
#         RandomResize=dict(scale=image_size),
#         RandomCrop=dict(crop_size=image_size),
#         Pad=dict(size=image_size))
#     train_pipeline = [
#         dict(transform, **sizes.get(transform['type'], {}))
#         for transform in _base_.train_pipeline
#     ]
#     train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
_base_ = ['./custom_coco.py']

data_root = 'data/everyday/'
full_ann_file = 'full_train.json'
single_ann_file = 'single_train.json'
val_ann_file = 'full_valid.json'
img_prefix = dict(img='images/')
metainfo = dict(classes=('person', 'animal', 'vehicle'))
backend_args = _base_.backend_args

image_size = (160, 160)  # (width, height) of the padded training images
test_scale = (320, 320)  # (width, height) the test images are fitted into
batch_size = 4
num_workers = 1
full_times = 3  # passes over the fully labelled images in one over the others

load_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
]
train_pipeline = [
    dict(
        type='refinevis_mm.ImageCopyPaste',
        prob=0.5,
        max_clips=1,
        max_tracks=3,
        scale_range=(0.4, 1.2),
        aim_prob=0.5,
        behind_prob=0.25),
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
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='Resize', scale=test_scale, keep_ratio=True, backend='pillow'),
    dict(type='PackDetInputs')
]

images = dict(
    type=_base_.dataset_type,
    data_root=data_root,
    ann_file=full_ann_file,
    data_prefix=img_prefix,
    metainfo=metainfo,
    backend_args=backend_args,
    pipeline=load_pipeline)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(
            type='ConcatDataset',
            datasets=[
                dict(type='RepeatDataset', times=full_times, dataset=images),
                dict(images, ann_file=single_ann_file)
            ]),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=val_ann_file,
        data_prefix=img_prefix,
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='refinevis_mm.ClassAgnosticCocoMetric',
    ann_file=data_root + val_ann_file,
    classwise=True)
test_evaluator = val_evaluator
