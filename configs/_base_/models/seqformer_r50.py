# SeqFormer (https://arxiv.org/abs/2112.08275) with ResNet-50, numbers of the
# detectron2 version (VNext). Every number of the model lives here once;
# children override what differs.
num_classes = 40
embed_dims = 256
num_levels = 4
num_layers = 6
feedforward_channels = 1024
dropout = 0.1

model = dict(
    type='refinevis_mm.SeqFormer',
    num_instances=10,
    cls_thr=0.05,
    data_preprocessor=dict(
        type='TrackDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32),
    frame_model=dict(
        type='refinevis_mm.SeqFormerNetwork',
        backbone=dict(
            type='ResNet',
            depth=50,
            num_stages=4,
            out_indices=(1, 2, 3),
            frozen_stages=1,
            norm_cfg=dict(type='BN', requires_grad=False),
            norm_eval=True,
            style='pytorch',
            init_cfg=dict(
                type='Pretrained', checkpoint='torchvision://resnet50')),
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
            type='refinevis_mm.SeqFormerDecoder',
            num_queries=300,
            num_layers=num_layers,
            embed_dims=embed_dims,
            num_heads=8,
            num_levels=num_levels,
            num_points=4,
            feedforward_channels=feedforward_channels,
            dropout=dropout),
        head=dict(
            type='refinevis_mm.SeqFormerHead',
            num_classes=num_classes,
            num_layers=num_layers,
            embed_dims=embed_dims,
            mask_dims=8,
            cls_prior=0.01,
            assigner=dict(
                type='HungarianAssigner',
                match_costs=[
                    dict(type='FocalLossCost', weight=2.0, eps=1e-8),
                    dict(type='refinevis_mm.ClipBoxCost', weight=5.0),
                    dict(type='refinevis_mm.ClipGIoUCost', weight=2.0)
                ]),
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
                type='DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0))))
