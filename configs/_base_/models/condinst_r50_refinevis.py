# RefineVIS with IDOL as its first two stages (paper Table 7): Deformable DETR
# with CondInst masks. There is no denoising of any kind.
_base_ = ['./idol_r50.py']

embed_dims = 256

model = dict(
    mode='online',
    window=10,  # frames, paper Table 3
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
        loss_cls=_base_.model.frame_model.head.loss_cls,
        loss_mask=dict(num_points=12544, mask_weight=5.0, dice_weight=5.0)))
