# IDOL (https://arxiv.org/abs/2207.10661): Deformable DETR with CondInst masks,
# contrastive association, no refinement. Every number of the model lives here
# once; children override what differs.
num_classes = 40
embed_dims = 256
num_levels = 4
num_layers = 6
feedforward_channels = 1024
dropout = 0.1

resnet = dict(
    type='ResNet',
    depth=50,
    num_stages=4,
    out_indices=(1, 2, 3),
    frozen_stages=1,
    norm_cfg=dict(type='BN', requires_grad=False),
    norm_eval=True,
    style='pytorch',
    init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'))
frame_model = dict(
    type='refinevis_mm.DeformableDETRCondInst',
    neck=dict(
        type='ChannelMapper',
        in_channels=[512, 1024, 2048],
        kernel_size=1,
        out_channels=embed_dims,
        bias=True,
        act_cfg=None,
        norm_cfg=dict(type='GN', num_groups=32),
        num_outs=num_levels),
    encoder=dict(
        type='refinevis_mm.DeformableDETREncoder',
        num_layers=num_layers,
        embed_dims=embed_dims,
        num_heads=8,
        num_levels=num_levels,
        num_points=4,
        feedforward_channels=feedforward_channels,
        dropout=dropout),
    decoder=dict(
        type='refinevis_mm.DeformableDETRDecoder',
        num_queries=300,
        num_layers=num_layers,
        embed_dims=embed_dims,
        num_heads=8,
        num_levels=num_levels,
        num_points=4,
        feedforward_channels=feedforward_channels,
        dropout=dropout),
    head=dict(
        type='refinevis_mm.CondInstHead',
        num_classes=num_classes,
        num_layers=num_layers,
        embed_dims=embed_dims,
        mask_dims=8,
        cls_prior=0.01,
        assigner=dict(type='refinevis_mm.OTAAssigner'),
        loss_cls=dict(
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=2.0),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='GIoULoss', loss_weight=2.0),
        loss_mask=dict(
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=2.0),
        loss_dice=dict(
            type='DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0)))

model = dict(
    type='refinevis_mm.RefineVIS',
    window=0,  # no refinement
    frame_loss_on='first',
    cls_thr=0.05,
    mask_resize='nearest',
    data_preprocessor=dict(
        type='TrackDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32),
    frame_model=dict(**frame_model, backbone=resnet),
    association_head=dict(
        type='refinevis_mm.ContrastiveHead',
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims,
        assoc_weight=2.0,
        assoc_aux_weight=3.0),
    pair_selector=dict(
        type='refinevis_mm.OTAPairSelector',
        num_pos_candidates=10,
        num_neg_candidates=100),
    tracker=dict(type='refinevis_mm.ContrastiveTracker'))  # YouTube-VIS
