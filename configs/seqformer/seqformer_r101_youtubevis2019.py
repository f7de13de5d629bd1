# For weights of the original repository, at test.
_base_ = [
    '../_base_/models/seqformer_r50.py',
    '../_base_/datasets/youtubevis2019_seqformer.py',
    '../_base_/default_runtime.py'
]

train_dataloader = None
val_dataloader = None
val_evaluator = None
test_cfg = dict(type='TestLoop')

model = dict(
    frame_model=dict(
        backbone=dict(
            depth=101,
            init_cfg=dict(
                type='Pretrained', checkpoint='torchvision://resnet101'))))
