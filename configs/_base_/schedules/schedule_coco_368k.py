# MaskDINO on COCO: 50 epochs with 16 images at a time. The official code
# trains with mixed precision: add --amp to the command, on a GPU.
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=368750, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='refinevis_mm.GroupedAdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'label_embedding': dict(decay_mult=0.0)
        },
        norm_decay_mult=0.0),
    clip_grad=dict(max_norm=0.01, norm_type=2))

param_scheduler = dict(
    type='MultiStepLR', by_epoch=False, milestones=[327778, 355092], gamma=0.1)

auto_scale_lr = dict(enable=False, base_batch_size=16)
