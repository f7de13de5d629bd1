# Frame model of the everyday model: that of the small shapes model on
# EfficientNet-Lite0.
_base_ = ['./maskdino_mobilenet-v2.py', './efficientnet-lite0_backbone.py']

num_classes = 3

model = dict(
    backbone=dict(
        _base_.efficientnet_lite0,
        _delete_=True,
        # made by `make data/efficientnet-lite0_imagenet.pth`
        init_cfg=dict(
            type='Pretrained',
            checkpoint='data/efficientnet-lite0_imagenet.pth')),
    frame_model=dict(
        pixel_decoder=dict(in_channels=_base_.efficientnet_lite0_channels),
        dn_query_generator=dict(num_classes=num_classes),
        head=dict(num_classes=num_classes)))
