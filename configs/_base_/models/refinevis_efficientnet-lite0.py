# The everyday model: the small shapes model on the frame model of
# maskdino_efficientnet-lite0.py.
_base_ = ['./refinevis_mobilenet-v2.py']

num_classes = 3

model = dict(
    score_missed=True,
    frame_model=dict(
        num_queries=100,
        backbone=dict(
            _delete_=True,
            type='refinevis_mm.EfficientNetLite',
            arch='lite0',
            out_indices=(1, 2, 4, 6),  # strides 4, 8, 16, 32
            frozen_stages=2,
            norm_eval=True),
        pixel_decoder=dict(in_channels=[24, 40, 112, 320]),
        dn_query_generator=dict(num_classes=num_classes),
        head=dict(num_classes=num_classes)))
