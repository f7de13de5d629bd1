default_scope = 'mmdet'
custom_imports = dict(imports=['refinevis_mm'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=1000,
        max_keep_ckpts=2,
        save_best='vis/AP',
        rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # not in custom_hooks, whose override would take them away
    iter_seed=dict(type='refinevis_mm.IterSeedHook'),
    training_check=dict(type='refinevis_mm.TrainingCheckHook'),
    class_check=dict(type='refinevis_mm.ClassCheckHook'),
    class_rows=dict(type='refinevis_mm.ClassRowsHook'))
custom_hooks = []

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='TrackLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
