# mmdet's MaskTrack R-CNN as it is, and TAR beside it.
_base_ = [
    'mmdet::masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2021.py',  # noqa: E501
    '../_base_/models/tar_roi_tracker.py'
]
custom_imports = dict(imports=['refinevis_mm'], allow_failed_imports=False)

model = dict(
    type='refinevis_mm.TARMaskTrackRCNN',
    mode='online',
    window=10,
    tracklet_builder=_base_.tracklet_builder,
    tar_head=_base_.tar_head)
del _base_.tracklet_builder, _base_.tar_head
