# OVIS with large-scale jittering, official files as downloaded:
# annotations_{train,valid}.json and {train,valid}/.
_base_ = ['./youtubevis2019_lsj.py']

data_root = 'data/ovis/'
preset = 'ovis'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_train.json',
        data_prefix=dict(img_path='train/'),
        preset=preset))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_valid.json',
        data_prefix=dict(img_path='valid/'),
        preset=preset))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'annotations_valid.json',
    outfile_prefix='work_dirs/ovis/results')
test_evaluator = val_evaluator
