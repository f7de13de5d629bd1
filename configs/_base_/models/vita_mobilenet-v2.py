# A small VITA with the frame model of mask2former_mobilenet-v2_refinevis.py.
_base_ = ['./mask2former_mobilenet-v2_refinevis.py']

num_classes = 7
num_queries = 50
embed_dims = 128

model = dict(
    _delete_=True,
    type='refinevis_mm.VITA',
    data_preprocessor=_base_.model.data_preprocessor,
    frame_model=_base_.model.frame_model,
    clip_head=dict(
        type='refinevis_mm.VITAHead',
        num_classes=num_classes,
        num_frame_queries=num_queries,
        num_queries=num_queries,
        in_channels=embed_dims,
        embed_dims=embed_dims,
        mask_dims=embed_dims,
        num_heads=8,
        feedforward_channels=512,
        num_encoder_layers=3,
        num_decoder_layers=3,
        window=6,
        sim_weight=0.5),
    num_streams=3,
    max_per_video=10,
    frames_at_once=18)
