# Phase 2 of the everyday model: the images of everyday_images.py as two-frame
# videos, each frame jittered on its own, objects pasted between them. They are
# validated on the DAVIS clips kept out of training. Another size of the
# training frames:
#     image_size = (224, 224)
#     sizes = dict(
#         RandomResize=dict(scale=image_size),
#         RandomCrop=dict(crop_size=image_size),
#         Pad=dict(size=image_size))
#     jitter = [
#         dict(transform, **sizes.get(transform['type'], {}))
#         for transform in _base_.jitter
#     ]
#     broadcaster = dict(_base_.train_pipeline[1], transforms=jitter)
#     train_dataloader = dict(
#         dataset=dict(pipeline=[_base_.paste, broadcaster, _base_.pack]))
_base_ = ['./custom_vis.py']

data_root = 'data/everyday/'
metainfo = dict(classes=('person', 'animal', 'vehicle'))
backend_args = _base_.backend_args

image_size = (256, 256)  # (width, height) of the padded training frames
test_scale = (384, 384)  # (width, height) the test frames are fitted into
batch_size = 2
num_workers = 1
num_frames = 2  # of a training clip
frame_range = 10  # largest distance of its frames
full_times = 3  # passes over the fully labelled images in one over the others

load_pipeline = [
    dict(
        type='refinevis_mm.KeyFirstFrameSample',
        num_ref_imgs=num_frames - 1,
        frame_range=frame_range),
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(type='refinevis_mm.LoadFrame', backend_args=backend_args),
            dict(type='LoadTrackAnnotations', with_mask=True),
        ]),
]
jitter = [
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
]
paste = dict(
    type='refinevis_mm.VideoCopyPaste',
    prob=0.5,
    max_clips=1,
    max_tracks=3,
    scale_range=(0.4, 1.2),
    aim_prob=0.5,
    behind_prob=0.25,
    max_drift=0.3)
# of videos, whose frames are jittered alike
shared_jitter = dict(
    type='TransformBroadcaster', share_random_params=True, transforms=jitter)
pack = dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
train_pipeline = [
    paste,
    dict(type='TransformBroadcaster', transforms=jitter),
    pack,
]
test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(type='refinevis_mm.LoadFrame', backend_args=backend_args),
            dict(type='Resize', scale=test_scale, keep_ratio=True),
        ]),
    pack,
]

full = dict(
    type='refinevis_mm.CocoPseudoVideoDataset',
    data_root=data_root,
    ann_file='full_train.json',
    data_prefix=dict(img_path='images/'),
    metainfo=metainfo,
    filter_cfg=dict(filter_empty_gt=False),  # background
    num_frames=num_frames,
    max_gap=frame_range,
    backend_args=backend_args,
    pipeline=load_pipeline)
images = dict(
    type='ConcatDataset',
    datasets=[
        dict(type='RepeatDataset', times=full_times, dataset=full),
        dict(full, ann_file='single_train.json')
    ])
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=images,
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='clips_valid.json',
        data_prefix=dict(img_path='clips/'),
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

# one object of each clip is labelled: what is found elsewhere does not count
val_evaluator = dict(
    ann_file=data_root + 'clips_valid.json',
    best_tracklet=True,
    options=dict(class_agnostic=True, crowd_regions=True))
test_evaluator = val_evaluator
