# TAR in mmdet's Mask2Former-VIS: the parent's config with two other types and
# a refinement head. Data, schedule and metric are the parent's.
_base_ = 'mmdet::mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2021.py'
custom_imports = dict(imports=['refinevis_mm'], allow_failed_imports=False)

model = dict(
    type='refinevis_mm.TARMask2FormerVideo',
    window=10,  # frames, paper Table 3; 0 is the parent
    track_head=dict(type='refinevis_mm.TARMask2FormerTrackHead'),
    tar_head=dict(
        type='refinevis_mm.TARHead',
        embed_dims=256,
        num_layers=1,
        num_heads=8,
        feedforward_channels=1024,
        loss_cls=_base_.model.track_head.loss_cls,  # no object: 0.1
        loss_mask=dict(num_points=12544, mask_weight=5.0, dice_weight=5.0)),
    init_cfg=None)
# the parent's weights; only those of TAR are missing in them
load_from = 'https://download.openmmlab.com/mmdetection/v3.0/mask2former_vis/' \
    'mask2former_r50_8xb2-8e_youtubevis2021/mask2former_r50_8xb2-8e_' \
    'youtubevis2021_20230426_131833-5d215283.pth'
