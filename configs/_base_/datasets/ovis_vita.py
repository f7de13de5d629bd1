# OVIS and COCO with VITA's recipe; files as in ovis_idol.py.
_base_ = ['./youtubevis2021_vita.py']

preset = 'ovis'
data_root = 'data/ovis/'
videos, images = _base_.train_dataloader.dataset.datasets

train_dataloader = dict(
    sampler=dict(source_ratio=[0.25, 1.0]),
    dataset=dict(datasets=[
        dict(
            videos,
            data_root=data_root,
            ann_file='annotations_train.json',
            data_prefix=dict(img_path='train/'),
            preset=preset),
        dict(images, preset=preset)
    ]))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations_valid.json',
        data_prefix=dict(img_path='valid/')))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'annotations_valid.json',
    outfile_prefix='work_dirs/vita_ovis/results')
test_evaluator = val_evaluator
