# YouTube-VIS 2021 and COCO with VITA's recipe; files as in
# youtubevis2021_idol.py.
_base_ = ['./youtubevis2019_vita.py']

num_frames = 6
frame_range = 8
preset = 'youtube_vis_2021'
data_root = 'data/youtube_vis_2021/'

sample = dict(
    type='refinevis_mm.KeyFirstFrameSample',
    num_ref_imgs=num_frames - 1,
    frame_range=frame_range)
train_pipeline = [sample, *_base_.train_pipeline[1:]]
pseudo_pipeline = [sample, *_base_.pseudo_pipeline[1:]]
videos, images = _base_.train_dataloader.dataset.datasets

train_dataloader = dict(
    sampler=dict(source_ratio=[0.8, 1.0]),
    dataset=dict(datasets=[
        dict(
            videos,
            data_root=data_root,
            ann_file='train/instances.json',
            preset=preset,
            pipeline=train_pipeline),
        dict(
            images,
            preset=preset,
            num_frames=num_frames,
            max_gap=frame_range,
            pipeline=pseudo_pipeline)
    ]))
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='valid/instances.json'))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'valid/instances.json',
    outfile_prefix='work_dirs/vita_youtubevis2021/results')
test_evaluator = val_evaluator
