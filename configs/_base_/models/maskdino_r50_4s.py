# MaskDINO R50 on four feature levels, the official `3s_dowsample1_2048`
# model: three backbone maps and one more level of stride 64.
_base_ = ['./maskdino_r50.py']

num_levels = 4

model = dict(
    frame_model=dict(
        anchor_init='mask2box',
        proposal_wh_order='coarse_small',  # official FEATURE_ORDER: low2high
        pixel_decoder=dict(num_extra_levels=1, feedforward_channels=2048),
        decoder=dict(num_levels=num_levels)))
