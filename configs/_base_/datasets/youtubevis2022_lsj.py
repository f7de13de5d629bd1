# YouTube-VIS 2022 with large-scale jittering, official files as downloaded:
# valid/instances.json and valid/JPEGImages. It has new videos for validation;
# those for training are of 2021.
_base_ = ['./youtubevis2021_lsj.py']

data_root = 'data/youtube_vis_2022/'
preset = 'youtube_vis_2022'

val_dataloader = dict(dataset=dict(data_root=data_root, preset=preset))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'valid/instances.json',
    outfile_prefix='work_dirs/youtubevis2022/results')
test_evaluator = val_evaluator
