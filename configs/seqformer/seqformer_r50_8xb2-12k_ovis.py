_base_ = [
    '../_base_/models/seqformer_r50.py',
    '../_base_/datasets/ovis_seqformer.py',
    '../_base_/schedules/schedule_seqformer_12k.py',
    '../_base_/default_runtime.py'
]

model = dict(frame_model=dict(head=dict(num_classes=25)))
