# Mask2Former Swin-L (window 12, 200 queries), see mask2former_r50_streaming.py.
_base_ = ['./mask2former_swin-t_streaming.py']

model = dict(
    frame_model=dict(
        backbone=dict(
            pretrain_img_size=384,
            embed_dims=192,
            depths=[2, 2, 18, 2],
            num_heads=[6, 12, 24, 48],
            window_size=12),
        head=dict(num_queries=200, in_channels=[192, 384, 768, 1536])))
