# Fine-tunes the everyday model on 5 to 30 clips of any classes, in YouTube-VIS
# form: set `data_root`, the files and the number of classes. The data set of
# the training is wrapped: `train_dataloader.dataset.dataset`. Classes that the
# everyday model knows by name go on from there. Crowds are ignored regions.
_base_ = ['./refinevis_efficientnet-lite0_2xb2-1k_everyday.py']

load_from = 'checkpoints/refinevis_efficientnet-lite0_everyday.pth'

data_root = 'data/custom_vis/'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(
            type=_base_.dataset_type,
            data_root=data_root,
            ann_file='train.json',
            data_prefix=dict(img_path='train/JPEGImages/'),
            backend_args=_base_.backend_args,
            pipeline=_base_.load_pipeline),
        pipeline=[
            dict(_base_.paste, max_clips=2), _base_.shared_jitter, _base_.pack
        ]))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=_base_.dataset_type,
        data_root=data_root,
        ann_file='valid.json',
        data_prefix=dict(img_path='valid/JPEGImages/'),
        backend_args=_base_.backend_args,
        test_mode=True,
        pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'valid.json', best_tracklet=False)
test_evaluator = val_evaluator

max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=300)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters)
]
default_hooks = dict(checkpoint=dict(interval=300))
