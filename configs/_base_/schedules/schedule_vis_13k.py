# Phase 3 of the paper (Sec. 4.1): 13k iterations, drop at 10k. The labels of
# the official validation sets are not public: one validation, at the end,
# writes the file for the evaluation server.
max_iters = 13000
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
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
    clip_grad=dict(max_norm=0.01, norm_type=2))  # MaskDINO

param_scheduler = dict(
    type='MultiStepLR', by_epoch=False, milestones=[10000], gamma=0.1)
