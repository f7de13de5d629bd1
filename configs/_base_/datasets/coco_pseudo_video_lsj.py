# COCO 2017 images as two-frame videos, each frame jittered on its own (paper
# Sec. 4.1). There are no videos to validate on.
_base_ = ['./lsj_pipelines.py']

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='refinevis_mm.CocoPseudoVideoDataset',
        data_root='data/coco/',
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img_path='train2017/'),
        num_frames=_base_.num_frames,
        max_gap=_base_.frame_range,
        backend_args=_base_.backend_args,
        pipeline=_base_.clip_pipelines.pseudo_video.r50))
val_dataloader = None
test_dataloader = None
val_evaluator = None
test_evaluator = None
