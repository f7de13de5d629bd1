# RefineVIS with RF-DETR-Seg nano as frame model, for videos of own classes.
# Frame matching is one-to-one. RF-DETR has no denoising queries.
num_classes = 7
embed_dims = 256

model = dict(
    type='refinevis_mm.RefineVIS',
    mode='online',
    window=10,  # frames, paper Table 3
    frame_loss_on='all',  # the classes are new
    cls_thr=0.05,  # IDOL
    data_preprocessor=dict(
        type='TrackDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    frame_model=dict(
        type='refinevis_mm.RFDETRSeg',
        size='nano',
        num_classes=num_classes,
        weights='coco'),
    association_head=dict(
        type='refinevis_mm.ContrastiveHead',
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims,
        assoc_weight=2.0,  # IDOL
        assoc_aux_weight=3.0),  # IDOL
    # IoU bands of unmatched queries, QDTrack's values
    pair_selector=dict(
        type='refinevis_mm.IoUPairSelector', pos_iou_thr=0.7, neg_iou_thr=0.3),
    tracker=dict(type='refinevis_mm.ContrastiveTracker'),
    tracklet_builder=dict(
        type='refinevis_mm.MatchedTrackletBuilder',
        score_thr=0.05,
        iou_thr=0.3,
        num_background=10),
    tar_head=dict(
        type='refinevis_mm.TARHead',
        embed_dims=embed_dims,
        num_layers=1,
        num_heads=8,
        feedforward_channels=1024,
        drop_prob=0.2,
        loss_cls=dict(
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=4.0),
        loss_mask=dict(
            num_points=512,  # a twelfth of the 78 x 78 cells of a mask
            mask_weight=5.0,
            dice_weight=5.0)))
