# A small MaskTrack R-CNN with TAR for one or two CPU cores; needs mmcv with
# compiled operators.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/models/tar_roi_tracker.py',
    '../_base_/models/mobilenet-v2_backbone.py',
    '../_base_/datasets/occluded_shapes.py',
    '../_base_/schedules/schedule_small.py', '../_base_/default_runtime.py'
]

num_classes = 7
feat_channels = 128
fc_channels = 256

detector = _base_.model
detector.pop('data_preprocessor')
detector.backbone = _base_.mobilenet_v2
detector.neck.update(
    in_channels=_base_.mobilenet_v2_channels, out_channels=feat_channels)
detector.rpn_head.update(
    # mmdet's would learn objects of the first class only
    type='refinevis_mm.ClassAgnosticRPNHead',
    in_channels=feat_channels,
    feat_channels=feat_channels)
detector.rpn_head.anchor_generator.update(scales=[4])  # small objects
roi_extractor = dict(
    type='SingleRoIExtractor',
    roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
    out_channels=feat_channels,
    featmap_strides=[4, 8, 16, 32],
    finest_scale=28)  # half of mmdet's, as the anchors
detector.roi_head.bbox_roi_extractor = roi_extractor
detector.roi_head.mask_roi_extractor.update(
    out_channels=feat_channels, finest_scale=28)
detector.roi_head.bbox_head.update(
    in_channels=feat_channels,
    fc_out_channels=fc_channels,
    num_classes=num_classes)
detector.roi_head.mask_head.update(
    num_convs=2,
    in_channels=feat_channels,
    conv_out_channels=feat_channels,
    num_classes=num_classes)
detector.train_cfg.rpn.sampler.update(num=64)
detector.train_cfg.rpn_proposal.update(nms_pre=200, max_per_img=100)
detector.train_cfg.rcnn.sampler.update(num=64)
detector.test_cfg.rpn.update(nms_pre=200, max_per_img=100)
detector.test_cfg.rcnn.update(max_per_img=20)
del _base_.model

tar_head = _base_.tar_head
tar_head.update(
    embed_dims=feat_channels,
    feedforward_channels=512,
    heads=dict(
        num_classes=num_classes,
        embed_dims=feat_channels,
        mask_dims=feat_channels),
    loss_mask=dict(num_points=512))

model = dict(
    type='refinevis_mm.TARMaskTrackRCNN',
    data_preprocessor=dict(
        type='TrackDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32),
    detector=detector,
    track_head=dict(
        type='RoITrackHead',
        roi_extractor=roi_extractor,
        embed_head=dict(
            type='RoIEmbedHead',
            num_fcs=2,
            in_channels=feat_channels,
            fc_out_channels=fc_channels),
        train_cfg=dict(
            assigner=detector.train_cfg.rcnn.assigner,
            sampler=detector.train_cfg.rcnn.sampler)),
    tracker=dict(
        type='MaskTrackRCNNTracker',
        match_weights=dict(det_score=1.0, iou=2.0, det_label=10.0),
        num_frames_retain=20),
    mode='online',
    window=10,
    tracklet_builder=_base_.tracklet_builder,
    tar_head=tar_head)
del detector, tar_head, _base_.tracklet_builder, _base_.tar_head

# gradient norms are 70 to 110 here, far above MaskDINO's
optim_wrapper = dict(clip_grad=dict(max_norm=10.0))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
