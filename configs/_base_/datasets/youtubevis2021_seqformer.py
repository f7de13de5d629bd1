# YouTube-VIS 2021 with SeqFormer's recipe; files as in
# youtubevis2021_idol.py.
_base_ = ['./youtubevis2019_seqformer.py']

data_root = 'data/youtube_vis_2021/'

train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='train/instances.json'))
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='valid/instances.json'))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'valid/instances.json',
    outfile_prefix='work_dirs/seqformer_youtubevis2021/results')
test_evaluator = val_evaluator
