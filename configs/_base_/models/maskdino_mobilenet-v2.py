# Small MaskDINO for one or two CPU cores: MobileNetV2, width 128, images of
# about 256 x 256.
_base_ = ['./maskdino_r50.py', './mobilenet-v2_backbone.py']

num_classes = 80
embed_dims = 128
num_queries = 100
num_points = 1024  # a quarter of the stride-4 cells of a 256 x 256 image

model = dict(
    backbone=dict(_base_.mobilenet_v2, _delete_=True),
    frame_model=dict(
        num_queries=num_queries,
        empty_mask_anchor='box',
        pixel_decoder=dict(
            in_channels=_base_.mobilenet_v2_channels,
            embed_dims=embed_dims,
            mask_dims=embed_dims,
            num_layers=3,
            feedforward_channels=512),
        decoder=dict(
            num_layers=3, embed_dims=embed_dims, feedforward_channels=512),
        dn_query_generator=dict(
            num_classes=num_classes, embed_dims=embed_dims, num_dn_queries=50),
        head=dict(
            num_classes=num_classes,
            embed_dims=embed_dims,
            mask_dims=embed_dims,
            num_match_points=num_points,
            cls_prior=0.01,  # short schedules: start with few detections
            loss_mask=dict(num_points=num_points))))
