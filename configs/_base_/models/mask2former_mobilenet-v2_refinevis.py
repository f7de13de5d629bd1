# RefineVIS with a small Mask2Former for one or two CPU cores: the sizes of
# refinevis_mobilenet-v2.py.
_base_ = ['./mask2former_r50_refinevis.py', './mobilenet-v2_backbone.py']

num_classes = 7
embed_dims = 128
num_points = 512  # a third of the stride-4 cells of a 128 x 192 frame
loss_cls = dict(class_weight=[1.0] * num_classes + [0.1])
attention = dict(embed_dims=embed_dims)
ffn = dict(embed_dims=embed_dims, feedforward_channels=512)
positions = dict(num_feats=embed_dims // 2)

model = dict(
    frame_loss_on='all',
    frame_model=dict(
        init_cfg=None,
        backbone=dict(_base_.mobilenet_v2, _delete_=True),
        head=dict(
            in_channels=_base_.mobilenet_v2_channels,
            feat_channels=embed_dims,
            out_channels=embed_dims,
            num_things_classes=num_classes,
            num_queries=50,
            pixel_decoder=dict(
                encoder=dict(
                    num_layers=3,
                    layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
                positional_encoding=positions),
            positional_encoding=positions,
            transformer_decoder=dict(
                num_layers=3,
                layer_cfg=dict(
                    self_attn_cfg=attention,
                    cross_attn_cfg=attention,
                    ffn_cfg=ffn)),
            loss_cls=loss_cls,
            train_cfg=dict(num_points=num_points))),
    association_head=dict(
        in_channels=embed_dims,
        feat_channels=embed_dims,
        embed_dims=embed_dims),
    tracklet_builder=dict(num_background=10),
    tar_head=dict(
        embed_dims=embed_dims,
        feedforward_channels=512,
        drop_prob=0.2,
        loss_cls=loss_cls,
        loss_mask=dict(num_points=num_points)))
