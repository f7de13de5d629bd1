# YouTube-VIS 2019 and, of its classes, COCO 2017 as pseudo-clips, with VITA's
# recipe. Files and evaluation as in youtubevis2019_idol.py, COCO as in
# coco_pseudo_video_lsj.py.
_base_ = ['./youtubevis2019_idol.py']

num_frames = 5  # of a training clip
frame_range = 20  # largest distance from the drawn frame to another
preset = 'youtube_vis_2019'

sample = dict(
    type='refinevis_mm.KeyFirstFrameSample',
    num_ref_imgs=num_frames - 1,
    frame_range=frame_range)
load = dict(type='refinevis_mm.LoadFrame', backend_args=_base_.backend_args)
load_and_flip = dict(
    type='TransformBroadcaster',
    share_random_params=True,
    transforms=[
        load,
        dict(type='LoadTrackAnnotations', with_mask=True),
        dict(type='RandomFlip', prob=0.5),
    ])
# the scene of an image moves: each frame is turned and cropped on its own
rotate = dict(
    type='TransformBroadcaster',
    transforms=[dict(type='Rotate', max_mag=15.0, img_border_value=0)])
# half of the clips; pixels of short sides, the same in all frames of a clip
crop_video, crop_pseudo_video = (
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=[
            dict(
                type='TransformBroadcaster',
                share_random_params=True,
                transforms=[
                    dict(
                        type='RandomChoiceResize',
                        scales=[(1333, short) for short in (400, 500, 600)],
                        keep_ratio=True,
                        backend='pillow')
                ]),
            dict(
                type='TransformBroadcaster',
                share_random_params=shared,
                transforms=[
                    dict(
                        type='RandomCrop',
                        crop_type='absolute_range',
                        crop_size=(384, 600),
                        allow_negative_crop=True,
                        recompute_bbox=True)
                ])
        ]) for shared in (True, False))
resize_clip = dict(
    type='TransformBroadcaster',
    share_random_params=True,
    transforms=[
        dict(
            type='RandomChoiceResize',
            scales=[(768, short) for short in range(288, 513, 32)],
            keep_ratio=True,
            backend='pillow'),
        dict(type='refinevis_mm.FilterTrackAnnotations'),
    ])
train_pipeline = [
    sample, load_and_flip, crop_video, resize_clip, *_base_.pad_and_pack
]
pseudo_pipeline = [
    sample, load_and_flip, rotate, crop_pseudo_video, resize_clip,
    *_base_.pad_and_pack
]
# pixels of the short side: 360, and 448 for Swin-L
test_pipeline, test_pipeline_448 = ([
    dict(
        type='TransformBroadcaster',
        transforms=[
            load,
            dict(
                type='Resize',
                scale=(1333, short),
                keep_ratio=True,
                backend='pillow'),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
] for short in (360, 448))

train_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=4,
    sampler=dict(
        type='refinevis_mm.SourceRatioSampler', source_ratio=[0.75, 1.0]),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                _base_.train_dataloader.dataset,
                preset=preset,
                pipeline=train_pipeline),
            dict(
                type='refinevis_mm.CocoPseudoVideoDataset',
                data_root='data/coco/',
                ann_file='annotations/instances_train2017.json',
                data_prefix=dict(img_path='train2017/'),
                preset=preset,
                num_frames=num_frames,
                max_gap=frame_range,
                backend_args=_base_.backend_args,
                pipeline=pseudo_pipeline)
        ]))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(outfile_prefix='work_dirs/vita_youtubevis2019/results')
test_evaluator = val_evaluator
