# RefineVIS with MaskDINO R50 (paper Sec. 4.1). Every number of the model
# lives here once; children override what differs.
num_classes = 40
embed_dims = 256
num_levels = 4
num_queries = 300
# Points on which mask costs and losses are computed (112 x 112, MaskDINO).
num_points = 12544

loss_cls = dict(
    type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=4.0)
loss_mask = dict(num_points=num_points, mask_weight=5.0, dice_weight=5.0)

model = dict(
    type='refinevis_mm.RefineVIS',
    mode='online',
    window=10,  # frames, paper Table 3
    frame_loss_on='first',  # paper Sec. 4.1
    recovery_cover_thr=0.5,  # ours; 1 is the paper
    cls_thr=0.05,  # IDOL
    data_preprocessor=dict(
        type='TrackDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32),
    frame_model=dict(
        type='refinevis_mm.MaskDINO',
        num_queries=num_queries,
        backbone=dict(
            type='ResNet',
            depth=50,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            frozen_stages=-1,
            norm_cfg=dict(type='BN', requires_grad=False),
            norm_eval=True,
            style='pytorch',
            init_cfg=dict(
                type='Pretrained', checkpoint='torchvision://resnet50')),
        pixel_decoder=dict(
            type='refinevis_mm.MaskDINOPixelDecoder',
            in_channels=[256, 512, 1024, 2048],
            encoder_in_indices=(1, 2, 3),
            num_extra_levels=1,
            embed_dims=embed_dims,
            mask_dims=embed_dims,
            num_layers=6,
            num_heads=8,
            num_points=4,
            feedforward_channels=1024),
        decoder=dict(
            type='refinevis_mm.MaskDINODecoder',
            num_layers=6,
            embed_dims=embed_dims,
            num_heads=8,
            num_levels=num_levels,
            num_points=4,
            feedforward_channels=2048),
        cdn=dict(
            type='refinevis_mm.ClipCdnQueryGenerator',
            num_classes=num_classes,
            embed_dims=embed_dims,
            num_dn_pairs=100,
            label_noise_scale=0.5,
            box_noise_scale=1.0),
        head=dict(
            type='refinevis_mm.MaskDINOHead',
            num_classes=num_classes,
            embed_dims=embed_dims,
            mask_dims=embed_dims,
            num_match_points=num_points,
            assigner=dict(
                type='HungarianAssigner',
                match_costs=[
                    dict(type='FocalLossCost', weight=4.0),
                    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                    dict(type='IoUCost', iou_mode='giou', weight=2.0),
                    dict(
                        type='CrossEntropyLossCost',
                        weight=5.0,
                        use_sigmoid=True),
                    dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0)
                ]),
            loss_cls=loss_cls,
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_iou=dict(type='GIoULoss', loss_weight=2.0),
            loss_mask=loss_mask)),
    association_head=dict(
        type='refinevis_mm.ContrastiveHead',
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims,
        assoc_weight=2.0,  # IDOL
        assoc_aux_weight=3.0),  # IDOL
    # IoU bands of unmatched queries, QDTrack's values
    pair_cfg=dict(pos_iou_thr=0.7, neg_iou_thr=0.3),
    tracker=dict(type='refinevis_mm.ContrastiveTracker'),
    # Relaxed thresholds (paper Sec. 4.1 names them, not their values)
    tracklet_cfg=dict(score_thr=0.05, iou_thr=0.3, num_background=20),
    tar_head=dict(
        type='refinevis_mm.TARHead',
        embed_dims=embed_dims,
        num_layers=1,
        num_heads=8,
        feedforward_channels=1024,
        loss_cls=loss_cls,
        loss_mask=loss_mask))
