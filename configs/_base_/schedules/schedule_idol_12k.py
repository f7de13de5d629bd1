# IDOL on video data sets: 12k iterations, drop at 8k.
max_iters = 12000
# The labels of the official validation sets are not public: one validation,
# at the end, writes the file for the evaluation server.
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='refinevis_mm.GroupedAdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=0.01, norm_type=2))

param_scheduler = dict(
    type='MultiStepLR', by_epoch=False, milestones=[8000], gamma=0.1)
