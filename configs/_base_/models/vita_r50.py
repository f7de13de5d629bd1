# VITA (https://arxiv.org/abs/2206.04403): clip queries that attend to the
# queries of a Mask2Former in all frames of a video. YouTube-VIS's 40 classes.
_base_ = ['./mask2former_r50_refinevis.py']

num_classes = 40
frame_model = _base_.model.frame_model

model = dict(
    _delete_=True,
    type='refinevis_mm.VITA',
    data_preprocessor=_base_.model.data_preprocessor,
    frame_model=frame_model,
    clip_head=dict(
        type='refinevis_mm.VITAHead',
        num_classes=num_classes,
        num_frame_queries=100,
        num_queries=100,
        in_channels=256,
        embed_dims=256,
        mask_dims=256,
        num_heads=8,
        feedforward_channels=2048,
        num_encoder_layers=6,
        num_decoder_layers=3,
        window=6,
        sim_weight=0.5),
    num_streams=3,
    max_per_video=10,
    frames_at_once=18)
