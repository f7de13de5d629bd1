# OVIS with SeqFormer's recipe; files as in ovis_idol.py.
_base_ = ['./youtubevis2019_seqformer.py']

data_root = 'data/ovis/'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_train.json',
        data_prefix=dict(img_path='train/')))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_valid.json',
        data_prefix=dict(img_path='valid/')))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'annotations_valid.json',
    outfile_prefix='work_dirs/seqformer_ovis/results')
test_evaluator = val_evaluator
