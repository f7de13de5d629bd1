# RefineVIS with MaskDINO Swin-L (paper Sec. 4.1): five levels, nine decoder
# layers and 500 pairs of denoising queries. The frame model is that of the
# image phase (maskdino_swin-l_refinevis.py), whose checkpoints it loads.
_base_ = ['./refinevis_r50.py', './swin-l_backbone.py']

model = dict(
    frame_model=dict(
        backbone=dict(_base_.swin_l, _delete_=True),
        pixel_decoder=dict(
            in_channels=[192, 384, 768, 1536], encoder_in_indices=(0, 1, 2,
                                                                   3)),
        decoder=dict(num_levels=5, num_layers=9),
        dn_query_generator=dict(num_dn_pairs=500)))
