# Small RefineVIS for one or two CPU cores: MobileNetV2, width 128, frames of
# about 128 x 192. One-to-one matching and no denoising pairs in association,
# as in the first phase of the shipped weights; ../../refinevis/README.md
# compares.
_base_ = ['./refinevis_r50.py', './mobilenet-v2_backbone.py']

num_classes = 7
embed_dims = 128
num_levels = 3
num_points = 512  # a third of the stride-4 cells of a 128 x 192 frame
loss_mask = dict(num_points=num_points, mask_weight=5.0, dice_weight=5.0)

model = dict(
    frame_loss_on='all',  # there is no image-level phase before
    frame_model=dict(
        num_queries=50,
        proposal_wh_order='fine_small',
        backbone=dict(_base_.mobilenet_v2, _delete_=True),
        pixel_decoder=dict(
            in_channels=_base_.mobilenet_v2_channels,
            num_extra_levels=0,
            embed_dims=embed_dims,
            mask_dims=embed_dims,
            num_layers=3,
            feedforward_channels=512),
        decoder=dict(
            num_layers=3,
            embed_dims=embed_dims,
            num_levels=num_levels,
            feedforward_channels=512),
        dn_query_generator=dict(
            num_classes=num_classes, embed_dims=embed_dims, num_dn_pairs=30),
        head=dict(
            num_classes=num_classes,
            embed_dims=embed_dims,
            mask_dims=embed_dims,
            num_match_points=num_points,
            cls_prior=0.01,  # there is no image-level phase before
            assigner=dict(_base_.hungarian, _delete_=True),
            loss_mask=loss_mask)),
    association_head=dict(
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims),
    # IoU bands of unmatched queries, QDTrack's values
    pair_selector=dict(
        _delete_=True,
        type='refinevis_mm.IoUPairSelector',
        pos_iou_thr=0.7,
        neg_iou_thr=0.3),
    association_cdn=None,
    temporal_cdn=None,
    tracklet_builder=dict(num_background=10),
    tar_head=dict(
        embed_dims=embed_dims,
        feedforward_channels=512,
        drop_prob=0.2,
        loss_mask=loss_mask))
