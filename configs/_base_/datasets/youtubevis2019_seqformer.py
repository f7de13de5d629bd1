# YouTube-VIS 2019 with SeqFormer's recipe: clips of five frames, flipped and
# resized alike, not cropped. Files and evaluation as in youtubevis2019_idol.py.
_base_ = ['./youtubevis2019_idol.py']

num_frames = 5  # of a training clip
frame_range = 10  # largest distance of its frames to the one drawn first
# pixels of the short side, one choice for a clip
short_sides = (320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640)
load = dict(type='refinevis_mm.LoadFrame', backend_args=_base_.backend_args)
pack = dict(type='PackTrackInputs', default_meta_keys=_base_.meta_keys)

# Swin-L draws from a wider range, and its frames have shorter long sides.
train_pipeline, train_pipeline_swin_l = ([
    dict(
        type='refinevis_mm.KeyFirstFrameSample',
        num_ref_imgs=num_frames - 1,
        frame_range=frames),
    dict(
        type='TransformBroadcaster',
        share_random_params=True,
        transforms=[
            load,
            dict(type='LoadTrackAnnotations', with_mask=True),
            dict(type='RandomFlip', prob=0.5),
            dict(
                type='RandomChoiceResize',
                scales=[(long, short) for short in short_sides],
                keep_ratio=True,
                backend='pillow'),
            dict(type='refinevis_mm.FilterTrackAnnotations'),
        ]), pack
] for frames, long in ((frame_range, 1333), (15, 768)))
# the official test sizes (pixels of the short side)
test_pipeline, test_pipeline_swin_l = ([
    dict(
        type='TransformBroadcaster',
        transforms=[
            load,
            dict(
                type='Resize',
                scale=(1333, short),
                keep_ratio=True,
                backend='pillow'),
        ]), pack
] for short in (360, 480))

train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    outfile_prefix='work_dirs/seqformer_youtubevis2019/results')
test_evaluator = val_evaluator
