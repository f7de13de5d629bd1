# YouTube-VIS 2019 with large-scale jittering, official files as downloaded:
# {train,valid}.json and {train,valid}/JPEGImages.
_base_ = ['./lsj_pipelines.py']

dataset_type = 'refinevis_mm.VISDataset'
data_root = 'data/youtube_vis_2019/'
preset = 'youtube_vis_2019'

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img_path='train/JPEGImages/'),
        preset=preset,
        backend_args=_base_.backend_args,
        pipeline=_base_.clip_pipelines.video.r50))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='refinevis_mm.WholeVideoSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='valid.json',
        data_prefix=dict(img_path='valid/JPEGImages/'),
        preset=preset,
        backend_args=_base_.backend_args,
        test_mode=True,
        pipeline=_base_.test_pipelines.r50))
test_dataloader = val_dataloader

# The labels of the official validation sets are not public: results are
# written for the evaluation server.
val_evaluator = dict(
    type='refinevis_mm.VISMetric',
    ann_file=data_root + 'valid.json',
    format_only=True,
    outfile_prefix='work_dirs/youtubevis2019/results')
test_evaluator = val_evaluator
