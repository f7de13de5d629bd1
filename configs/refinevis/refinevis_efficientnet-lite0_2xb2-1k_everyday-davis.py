# Everyday model, phase 3 with the DAVIS clips (CC BY-NC) beside those of
# refinevis_efficientnet-lite0_2xb2-1k_everyday.py.
_base_ = ['./refinevis_efficientnet-lite0_2xb2-1k_everyday.py']

davis = dict(
    type='MultiImageMixDataset',
    dataset=dict(
        type=_base_.dataset_type,
        data_root=_base_.data_root,
        ann_file='clips_train.json',
        data_prefix=dict(img_path='clips/'),
        metainfo=_base_.metainfo,
        backend_args=_base_.backend_args,
        pipeline=_base_.load_pipeline),
    pipeline=[
        dict(_base_.paste, max_clips=2), _base_.shared_jitter, _base_.pack
    ])
train_dataloader = dict(
    sampler=dict(source_ratio=[1, 1, 1]),
    dataset=dict(datasets=[*_base_.train_dataloader.dataset.datasets, davis]))
