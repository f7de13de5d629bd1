# YouTube-VIS 2021 with large-scale jittering, official files as downloaded:
# {train,valid}/instances.json and {train,valid}/JPEGImages.
_base_ = ['./youtubevis2019_lsj.py']

data_root = 'data/youtube_vis_2021/'
preset = 'youtube_vis_2021'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file='train/instances.json', preset=preset))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file='valid/instances.json', preset=preset))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'valid/instances.json',
    outfile_prefix='work_dirs/youtubevis2021/results')
test_evaluator = val_evaluator
