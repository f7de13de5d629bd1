# Mask2Former Swin-T, see mask2former_r50_streaming.py.
_base_ = ['./mask2former_r50_streaming.py']

model = dict(
    frame_model=dict(
        backbone=dict(
            _delete_=True,
            type='SwinTransformer',
            embed_dims=96,
            depths=[2, 2, 6, 2],
            num_heads=[3, 6, 12, 24],
            window_size=7,
            drop_path_rate=0.3),
        head=dict(in_channels=[96, 192, 384, 768])))
