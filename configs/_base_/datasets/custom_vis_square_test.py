# Test frames of any data set in YouTube-VIS form as squares, for models that
# are not trained here.
_base_ = ['./custom_vis_square.py']

test_cfg = dict(type='TestLoop')
train_dataloader = None
val_dataloader = None
val_evaluator = None
