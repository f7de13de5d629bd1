# The weights are those of a panoptic model, of which the things are followed.
_base_ = ['./mask2former-swin-l_coco.py']

model = dict(
    frame_model=dict(
        backbone=dict(embed_dims=128, num_heads=[4, 8, 16, 32]),
        head=dict(num_queries=100, in_channels=[128, 256, 512, 1024])))
