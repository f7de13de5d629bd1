# MaskTrack R-CNN of mmtrack 1.0.0rc1 as it is, data and schedule included, and
# TAR beside it. Needs mmcv with compiled operators, requirements/mmtrack.txt
# and: pip install --no-deps mmtrack==1.0.0rc1
_base_ = 'mmtrack::vis/masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py'  # noqa: E501
custom_imports = dict(
    imports=['refinevis_mm.models.adapters.tar_mmtrack_mask_track_rcnn'],
    allow_failed_imports=False)

num_classes = 40  # YouTube-VIS 2019
model = dict(
    type='refinevis_mm.TARMMTrackMaskTrackRCNN',
    mode='online',
    window=10,
    tracklet_builder=dict(
        type='refinevis_mm.MatchedTrackletBuilder',
        score_thr=0.0,  # of a proposal's objectness
        iou_thr=0.5,
        num_background=10),
    tar_head=dict(
        type='refinevis_mm.TARHead',
        drop_prob=0.2,
        heads=dict(
            type='refinevis_mm.EmbeddingHeads', num_classes=num_classes),
        loss_cls=dict(
            type='mmdet.FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=4.0),
        loss_mask=dict(num_points=12544, mask_weight=5.0, dice_weight=5.0)))

# refined in both modes; mmtrack's own YouTubeVISMetric sees the online results
val_evaluator = dict(
    _delete_=True,
    type='refinevis_mm.VISMetric',
    ann_file='data/youtube_vis_2019/valid.json',  # the official file
    format_only=True,
    outfile_prefix='work_dirs/tar-mmtrack-masktrack-rcnn/results')
test_evaluator = val_evaluator
