# The weights are those of detectron2's instance model.
_base_ = ['./mask2former-d2-swin-l_coco.py']

model = dict(
    frame_model=dict(
        backbone=dict(embed_dims=128, num_heads=[4, 8, 16, 32]),
        head=dict(num_queries=100, in_channels=[128, 256, 512, 1024])))
