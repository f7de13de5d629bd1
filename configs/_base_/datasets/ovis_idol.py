# OVIS with IDOL's recipe, official files as downloaded:
# annotations_{train,valid}.json and {train,valid}/. 25 classes, those of the
# JSON.
_base_ = ['./youtubevis2019_idol.py']

data_root = 'data/ovis/'

resize = [
    dict(
        type='TransformBroadcaster',
        share_random_params=True,
        transforms=[
            dict(
                type='RandomChoiceResize',
                scales=[(1333, short) for short in range(480, 801, 32)],
                keep_ratio=True,
                backend='pillow'),
            dict(type='refinevis_mm.FilterTrackAnnotations'),
        ])
]
train_pipeline = [*_base_.load_and_crop, *resize, *_base_.pad_and_pack]
test_pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(
                type='refinevis_mm.LoadFrame',
                backend_args=_base_.backend_args),
            dict(
                type='Resize',
                scale=(1333, 720),
                keep_ratio=True,
                backend='pillow'),
        ]),
    dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
]

train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_train.json',
        data_prefix=dict(img_path='train/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_valid.json',
        data_prefix=dict(img_path='valid/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'annotations_valid.json',
    outfile_prefix='work_dirs/idol_ovis/results')
test_evaluator = val_evaluator
