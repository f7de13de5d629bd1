# YouTube-VIS 2021 and, of its classes, COCO 2017 as two-frame videos, at equal
# shares.
_base_ = ['./youtubevis2021_lsj.py']

coco = dict(
    type='refinevis_mm.CocoPseudoVideoDataset',
    data_root='data/coco/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img_path='train2017/'),
    preset=_base_.preset,
    num_frames=_base_.num_frames,
    max_gap=_base_.frame_range,
    backend_args=_base_.backend_args,
    pipeline=_base_.clip_pipelines.pseudo_video.r50)

train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type='refinevis_mm.SourceRatioSampler',
        source_ratio=[1, 1]),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[_base_.train_dataloader.dataset, coco]))
