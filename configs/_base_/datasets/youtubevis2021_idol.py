# YouTube-VIS 2021 with IDOL's recipe, official files as downloaded:
# {train,valid}/instances.json and {train,valid}/JPEGImages. 40 classes, those
# of the JSON.
_base_ = ['./youtubevis2019_idol.py']

data_root = 'data/youtube_vis_2021/'

train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='train/instances.json'))
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='valid/instances.json'))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'valid/instances.json',
    outfile_prefix='work_dirs/idol_youtubevis2021/results')
test_evaluator = val_evaluator
