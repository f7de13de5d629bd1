# Phase 3 of the everyday model without DAVIS: two kinds of clips of the same
# images at equal shares, those of everyday_pseudo_video.py and still pictures
# with objects of other images that move over them. Another size of the
# training frames:
#     image_size = (224, 224)
#     sizes = dict(
#         RandomResize=dict(scale=image_size),
#         RandomCrop=dict(crop_size=image_size),
#         Pad=dict(size=image_size))
#     jitter = [
#         dict(transform, **sizes.get(transform['type'], {}))
#         for transform in _base_.jitter
#     ]
#     datasets = [
#         dict(
#             part,
#             pipeline=[
#                 part['pipeline'][0],
#                 dict(part['pipeline'][1], transforms=jitter), _base_.pack
#             ]) for part in _base_.train_dataloader.dataset.datasets
#     ]
#     train_dataloader = dict(dataset=dict(datasets=datasets))
_base_ = ['./everyday_pseudo_video.py']

shares = [1, 1]  # of the kinds of clips

moving = dict(
    type='MultiImageMixDataset',
    dataset=_base_.images,
    pipeline=[
        dict(_base_.paste, prob=1, max_clips=2, max_drift=0.6),
        _base_.shared_jitter, _base_.pack
    ])
train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type='refinevis_mm.SourceRatioSampler',
        source_ratio=shares),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[_base_.train_dataloader.dataset, moving],
        ignore_keys=['cumulative_sizes']))  # of the files
