# Test frames of YouTube-VIS 2021, for models that are not trained here.
_base_ = ['./youtubevis2021_lsj.py']

test_cfg = dict(type='TestLoop')
train_dataloader = None
val_dataloader = None
val_evaluator = None
