# YouTube-VIS 2019 and, of its classes, COCO 2017 as videos of five frames, at
# equal shares: the original repository of SeqFormer trains on both.
_base_ = ['./youtubevis2019_seqformer.py']

# Each frame is augmented on its own, so that an image seems to move.
pseudo_pipeline = [
    dict(
        type='refinevis_mm.KeyFirstFrameSample',
        num_ref_imgs=_base_.num_frames - 1,
        frame_range=_base_.frame_range),
    dict(
        type='TransformBroadcaster',
        transforms=[
            _base_.load,
            dict(type='LoadTrackAnnotations', with_mask=True),
            dict(type='RandomFlip', prob=0.5),
            dict(
                type='RandomApply',
                prob=0.5,
                transforms=[
                    dict(
                        type='RandomChoiceResize',
                        scales=[(1333, short) for short in (400, 500, 600)],
                        keep_ratio=True,
                        backend='pillow'),
                    dict(
                        type='RandomCrop',
                        crop_type='absolute_range',
                        crop_size=(384, 600),
                        allow_negative_crop=True,
                        recompute_bbox=True),
                ]),
            dict(
                type='RandomChoiceResize',
                scales=[(768, short) for short in _base_.short_sides],
                keep_ratio=True,
                backend='pillow'),
            dict(type='refinevis_mm.FilterTrackAnnotations'),
        ]),
    dict(type='refinevis_mm.PadClip', pad_val=_base_.pad_val), _base_.pack
]
coco = dict(
    type='refinevis_mm.CocoPseudoVideoDataset',
    data_root='data/coco/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img_path='train2017/'),
    preset='youtube_vis_2019',
    num_frames=_base_.num_frames,
    max_gap=_base_.frame_range,
    backend_args=_base_.backend_args,
    pipeline=pseudo_pipeline)

train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type='refinevis_mm.SourceRatioSampler',
        source_ratio=[1, 1]),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[_base_.train_dataloader.dataset, coco]))
