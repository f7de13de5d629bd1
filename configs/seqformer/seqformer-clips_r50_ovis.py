# At test, clips of five frames that are matched by their masks: memory does
# not grow with the length of a video.
_base_ = [
    '../_base_/models/seqformer_r50.py',
    '../_base_/datasets/ovis_seqformer.py', '../_base_/default_runtime.py'
]

train_dataloader = None
val_dataloader = None
val_evaluator = None
test_cfg = dict(type='TestLoop')

model = dict(clip_length=5, frame_model=dict(head=dict(num_classes=25)))
