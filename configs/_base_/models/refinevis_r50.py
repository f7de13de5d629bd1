# RefineVIS with MaskDINO R50 (paper Sec. 4.1). The frame model is that of the
# image phase, whose checkpoints it loads.
_base_ = ['./maskdino_r50_refinevis.py']

num_classes = 40
embed_dims = _base_.embed_dims
frame_model = _base_.model.frame_model
hungarian = frame_model.head.assigner  # of the image phase

model = dict(
    _delete_=True,
    type='refinevis_mm.RefineVIS',
    mode='online',
    window=10,  # frames, paper Table 3
    frame_loss_on='first',  # paper Sec. 4.1
    exclusive_recovery=True,  # ours; False is the paper
    cls_thr=0.05,  # IDOL
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='TrackDataPreprocessor'),
    frame_model=dict(
        frame_model,
        backbone=_base_.model.backbone,
        dn_query_generator=dict(
            frame_model.dn_query_generator, num_classes=num_classes),
        head=dict(
            frame_model.head,
            num_classes=num_classes,
            # one-to-many, paper Sec. 4.1; costs of IDOL
            assigner=dict(type='refinevis_mm.OTAAssigner'))),
    association_head=dict(
        type='refinevis_mm.ContrastiveHead',
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims,
        assoc_weight=2.0,  # IDOL
        assoc_aux_weight=3.0),  # IDOL
    pair_selector=dict(type='refinevis_mm.OTAPairSelector'),  # IDOL
    association_cdn=dict(  # paper Sec. 3.5
        type='refinevis_mm.AssociationCDN', loss_weight=1.0),
    temporal_cdn=dict(  # paper Sec. 3.5
        type='refinevis_mm.TemporalCDN', loss_weight=1.0),
    tracker=dict(type='refinevis_mm.ContrastiveTracker'),
    # Relaxed thresholds (paper Sec. 4.1 names them, not their values)
    tracklet_builder=dict(
        type='refinevis_mm.MatchedTrackletBuilder',
        score_thr=0.05,
        iou_thr=0.3,
        num_background=20),
    tar_head=dict(
        type='refinevis_mm.TARHead',
        embed_dims=embed_dims,
        num_layers=1,
        num_heads=8,
        feedforward_channels=1024,
        loss_cls=frame_model.head.loss_cls,
        loss_mask=frame_model.head.loss_mask))
