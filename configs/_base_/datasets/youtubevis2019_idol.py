# YouTube-VIS 2019 with IDOL's recipe, official files as downloaded:
# {train,valid}.json and {train,valid}/JPEGImages. 40 classes, those of the
# JSON. Frames are resized with Pillow, as officially: it filters where it
# shrinks, which OpenCV, mmcv's default, does not.
_base_ = ['./clip_meta_keys.py']

dataset_type = 'refinevis_mm.VISDataset'
data_root = 'data/youtube_vis_2019/'
backend_args = None

# Mean colour (B, G, R): 0 after normalisation, as padding in IDOL.
pad_val = dict(img=(104, 116, 124), masks=0)

# The pipeline in three parts, the second of which differs between data sets.
# 1. A pair of frames at most 10 apart, flipped alike; in half of the clips
#    each frame is cropped on its own.
load_and_crop = [
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
        ]),
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=[
            dict(
                type='TransformBroadcaster',
                transforms=[
                    dict(
                        type='RandomCrop',
                        crop_type='absolute_range',
                        crop_size=(384, 600),
                        allow_negative_crop=True,
                        recompute_bbox=True)
                ])
        ])
]
# 2. One choice of the short side (pixels) for both frames.
resize = [
    dict(
        type='TransformBroadcaster',
        share_random_params=True,
        transforms=[
            dict(
                type='RandomChoiceResize',
                scales=[(768, short)
                        for short in (320, 352, 392, 416, 448, 480, 512, 544,
                                      576, 608, 640)],
                keep_ratio=True,
                backend='pillow'),
            dict(type='refinevis_mm.FilterTrackAnnotations'),
        ])
]
# 3. Frames of a clip get one size.
pad_and_pack = [
    dict(type='refinevis_mm.PadClip', pad_val=pad_val),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]
train_pipeline = [*load_and_crop, *resize, *pad_and_pack]
test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(type='refinevis_mm.LoadFrame', backend_args=backend_args),
            dict(
                type='Resize',
                scale=(1333, 480),
                keep_ratio=True,
                backend='pillow'),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img_path='train/JPEGImages/'),
        filter_cfg=dict(filter_empty_gt=False),
        backend_args=backend_args,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='refinevis_mm.WholeVideoSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='valid.json',
        data_prefix=dict(img_path='valid/JPEGImages/'),
        backend_args=backend_args,
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='refinevis_mm.VISMetric',
    ann_file=data_root + 'valid.json',
    format_only=True,
    outfile_prefix='work_dirs/idol_youtubevis2019/results')
test_evaluator = val_evaluator
