# MobileNetV2 with ImageNet weights, made by
# `make data/mobilenet-v2_imagenet.pth`.
mobilenet_v2 = dict(
    type='MobileNetV2',
    out_indices=(1, 2, 4, 7),  # strides 4, 8, 16, 32
    norm_cfg=dict(type='BN'),
    norm_eval=True,
    init_cfg=dict(
        type='Pretrained', checkpoint='data/mobilenet-v2_imagenet.pth'))
mobilenet_v2_channels = [24, 32, 96, 1280]
