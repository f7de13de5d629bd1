# MaskDINO R50 on three feature levels, the official `3s` model
# (https://arxiv.org/abs/2206.02777). Every number of the model lives here
# once; children override what differs.
num_classes = 80
embed_dims = 256
num_levels = 3
num_queries = 300
# Points on which mask costs and losses are computed (112 x 112).
num_points = 12544

model = dict(
    type='refinevis_mm.FrameModelDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32),
    backbone=dict(
        type='ResNet',
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    frame_model=dict(
        type='refinevis_mm.MaskDINO',
        num_queries=num_queries,
        anchor_init='bitmask',
        empty_mask_anchor='official',
        proposal_wh_order='fine_small',
        pixel_decoder=dict(
            type='refinevis_mm.MaskDINOPixelDecoder',
            in_channels=[256, 512, 1024, 2048],
            encoder_in_indices=(1, 2, 3),
            num_extra_levels=0,
            embed_dims=embed_dims,
            mask_dims=embed_dims,
            num_layers=6,
            num_heads=8,
            num_points=4,
            feedforward_channels=1024),
        decoder=dict(
            type='refinevis_mm.MaskDINODecoder',
            num_layers=9,
            embed_dims=embed_dims,
            num_heads=8,
            num_levels=num_levels,
            num_points=4,
            feedforward_channels=2048),
        dn_query_generator=dict(
            type='refinevis_mm.MaskDINODnQueryGenerator',
            num_classes=num_classes,
            embed_dims=embed_dims,
            num_dn_queries=100,
            label_noise_scale=0.4,
            box_noise_scale=0.4),
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
                    dict(type='refinevis_mm.GIoUCost', weight=2.0),
                    dict(
                        type='CrossEntropyLossCost',
                        weight=5.0,
                        use_sigmoid=True),
                    dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0)
                ]),
            loss_cls=dict(
                type='FocalLoss',
                use_sigmoid=True,
                gamma=2.0,
                alpha=0.25,
                loss_weight=4.0),
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_iou=dict(type='refinevis_mm.GIoULoss', loss_weight=2.0),
            loss_mask=dict(
                num_points=num_points, mask_weight=5.0, dice_weight=5.0))),
    test_cfg=dict(max_per_img=100))
