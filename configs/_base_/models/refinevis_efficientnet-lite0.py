# The everyday model: the small shapes model on the frame model of
# maskdino_efficientnet-lite0.py.
_base_ = ['./refinevis_mobilenet-v2.py', './efficientnet-lite0_backbone.py']

num_classes = 3

model = dict(
    score_missed=True,
    frame_model=dict(
        num_queries=100,
        backbone=dict(_base_.efficientnet_lite0, _delete_=True),
        pixel_decoder=dict(in_channels=_base_.efficientnet_lite0_channels),
        dn_query_generator=dict(num_classes=num_classes),
        head=dict(num_classes=num_classes)))
