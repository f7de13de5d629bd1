# EfficientNet-Lite0, whose maps of stride 4 and finer keep their ImageNet
# weights.
efficientnet_lite0 = dict(
    type='refinevis_mm.EfficientNetLite',
    arch='lite0',
    out_indices=(1, 2, 4, 6),  # strides 4, 8, 16, 32
    frozen_stages=2,
    norm_eval=True)
efficientnet_lite0_channels = [24, 40, 112, 320]
