# Frame model of the everyday model: that of the small shapes model with 100
# queries, on EfficientNet-Lite0. The maps of stride 4 and finer keep their
# ImageNet weights.
_base_ = ['./maskdino_mobilenet-v2.py']

num_classes = 3

model = dict(
    backbone=dict(
        _delete_=True,
        type='refinevis_mm.EfficientNetLite',
        arch='lite0',
        out_indices=(1, 2, 4, 6),  # strides 4, 8, 16, 32
        frozen_stages=2,
        norm_eval=True,
        # made by `make data/efficientnet-lite0_imagenet.pth`
        init_cfg=dict(
            type='Pretrained',
            checkpoint='data/efficientnet-lite0_imagenet.pth')),
    frame_model=dict(
        pixel_decoder=dict(in_channels=[24, 40, 112, 320]),
        dn_query_generator=dict(num_classes=num_classes),
        head=dict(num_classes=num_classes)))
