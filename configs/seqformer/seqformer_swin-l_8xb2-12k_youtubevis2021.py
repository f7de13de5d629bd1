_base_ = [
    '../_base_/models/seqformer_swin-l.py',
    '../_base_/datasets/youtubevis2021_seqformer.py',
    '../_base_/schedules/schedule_seqformer_12k.py',
    '../_base_/default_runtime.py'
]

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline_swin_l))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline_swin_l))
test_dataloader = val_dataloader
