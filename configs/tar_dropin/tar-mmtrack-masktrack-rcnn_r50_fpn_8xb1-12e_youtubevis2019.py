# MaskTrack R-CNN of mmtrack 1.0.0rc1 as it is, data and schedule included, and
# TAR beside it. Needs mmcv with compiled operators, requirements/mmtrack.txt
# and: pip install --no-deps mmtrack==1.0.0rc1
_base_ = [
    'mmtrack::vis/masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py',  # noqa: E501
    '../_base_/models/tar_roi_tracker.py'
]
custom_imports = dict(
    imports=['refinevis_mm.models.adapters.tar_mmtrack_mask_track_rcnn'],
    allow_failed_imports=False)

model = dict(
    type='refinevis_mm.TARMMTrackMaskTrackRCNN',
    mode='online',
    window=10,
    tracklet_builder=_base_.tracklet_builder,
    tar_head=_base_.tar_head)
del _base_.tracklet_builder, _base_.tar_head

# refined in both modes; mmtrack's own YouTubeVISMetric sees the online results
val_evaluator = dict(
    _delete_=True,
    type='refinevis_mm.VISMetric',
    ann_file='data/youtube_vis_2019/valid.json',  # the official file
    format_only=True,
    outfile_prefix='work_dirs/tar-mmtrack-masktrack-rcnn/results')
test_evaluator = val_evaluator
