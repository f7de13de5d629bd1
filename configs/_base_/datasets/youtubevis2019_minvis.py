# YouTube-VIS 2019 with MinVIS's recipe: clips of one frame, flipped and
# resized, nothing else. Files and evaluation as in youtubevis2019_idol.py.
_base_ = ['./youtubevis2019_idol.py']

load = dict(type='refinevis_mm.LoadFrame', backend_args=_base_.backend_args)
pack = dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)
train_pipeline = [
    dict(type='refinevis_mm.KeyFirstFrameSample', num_ref_imgs=0),
    dict(
        type='TransformBroadcaster',
        transforms=[
            load,
            dict(type='LoadTrackAnnotations', with_mask=True),
            dict(
                type='RandomChoiceResize',
                scales=[(1333, 360), (1333, 480)],
                keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='refinevis_mm.FilterTrackAnnotations'),
        ]), pack
]
# the official test sizes (pixels of the short side): 360, and 480 for Swin-L
# on YouTube-VIS 2019 and OVIS
test_pipeline, test_pipeline_480 = ([
    dict(
        type='TransformBroadcaster',
        transforms=[
            load,
            dict(type='Resize', scale=(1333, short), keep_ratio=True),
        ]), pack
] for short in (360, 480))

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(outfile_prefix='work_dirs/minvis_youtubevis2019/results')
test_evaluator = val_evaluator
