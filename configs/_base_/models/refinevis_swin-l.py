# RefineVIS with MaskDINO Swin-L (paper Sec. 4.1): five levels, nine decoder
# layers and 500 pairs of denoising queries. The frame model is that of the
# image phase (maskdino_swin-l_refinevis.py), whose checkpoints it loads.
_base_ = ['./refinevis_r50.py']

model = dict(
    frame_model=dict(
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
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://github.com/SwinTransformer/storage/'
                'releases/download/v1.0.0/'
                'swin_large_patch4_window12_384_22k.pth')),
        pixel_decoder=dict(
            in_channels=[192, 384, 768, 1536], encoder_in_indices=(0, 1, 2,
                                                                   3)),
        decoder=dict(num_levels=5, num_layers=9),
        dn_query_generator=dict(num_dn_pairs=500)))
