_base_ = [
    '../_base_/models/ctvis_r50.py',
    '../_base_/datasets/youtubevis2021_minvis.py',
    '../_base_/default_runtime.py'
]

test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline_480))
test_evaluator = dict(outfile_prefix='work_dirs/ctvis_youtubevis2021/results')
test_cfg = dict(type='TestLoop')
train_dataloader = None
val_dataloader = None
val_evaluator = None
