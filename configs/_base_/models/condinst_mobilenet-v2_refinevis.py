# RefineVIS with a small IDOL as its first two stages.
_base_ = ['./condinst_r50_refinevis.py', './condinst_mobilenet-v2.py']

embed_dims = 128

model = dict(
    frame_model=_base_.small_frame_model,
    association_head=dict(
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims),
    tracklet_builder=dict(num_background=10),
    tar_head=dict(
        embed_dims=embed_dims,
        feedforward_channels=512,
        loss_mask=dict(num_points=512)))
