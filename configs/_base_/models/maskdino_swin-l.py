# MaskDINO Swin-L on five feature levels, the official `4s_dowsample1_2048`
# model: four backbone maps and one more level of stride 64.
_base_ = ['./maskdino_r50_4s.py', './swin-l_backbone.py']

num_levels = 5

model = dict(
    backbone=dict(_base_.swin_l, _delete_=True),
    frame_model=dict(
        anchor_init='bitmask',
        pixel_decoder=dict(
            in_channels=[192, 384, 768, 1536],
            encoder_in_indices=(0, 1, 2, 3)),
        decoder=dict(num_levels=num_levels)))
