_base_ = [
    '../_base_/models/vita_swin-l.py',
    '../_base_/datasets/youtubevis2019_vita.py',
    '../_base_/schedules/schedule_vita_140k.py',
    '../_base_/schedules/swin-l_custom_keys.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.swin_l_custom_keys))

test_pipeline = _base_.test_pipeline_448
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
