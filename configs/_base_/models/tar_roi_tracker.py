# TAR with heads of its own, for trackers on RoI features.
num_classes = 40  # YouTube-VIS
tracklet_builder = dict(
    type='refinevis_mm.MatchedTrackletBuilder',
    score_thr=0.0,  # of a proposal's objectness
    iou_thr=0.5,
    num_background=10)
tar_head = dict(
    type='refinevis_mm.TARHead',
    drop_prob=0.2,
    heads=dict(type='refinevis_mm.EmbeddingHeads', num_classes=num_classes),
    loss_cls=dict(
        type='mmdet.FocalLoss',
        use_sigmoid=True,
        gamma=2.0,
        alpha=0.25,
        loss_weight=4.0),
    loss_mask=dict(num_points=12544, mask_weight=5.0, dice_weight=5.0))
