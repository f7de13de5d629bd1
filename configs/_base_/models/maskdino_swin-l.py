# MaskDINO Swin-L on five feature levels, the official `4s_dowsample1_2048`
# model: four backbone maps and one more level of stride 64.
_base_ = ['./maskdino_r50_4s.py']

num_levels = 5
pretrained = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window12_384_22k.pth'  # noqa: E501

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        pretrain_img_size=384,
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
        patch_norm=True,
        use_abs_pos_embed=False,
        convert_weights=True,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    frame_model=dict(
        anchor_init='bitmask',
        pixel_decoder=dict(
            in_channels=[192, 384, 768, 1536],
            encoder_in_indices=(0, 1, 2, 3)),
        decoder=dict(num_levels=num_levels)))
