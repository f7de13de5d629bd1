# Small IDOL.
_base_ = ['./idol_r50.py', './condinst_mobilenet-v2.py']

embed_dims = 128

model = dict(
    frame_model=_base_.small_frame_model,
    association_head=dict(
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims))
