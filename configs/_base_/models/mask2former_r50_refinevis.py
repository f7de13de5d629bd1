# RefineVIS with Mask2Former R50 as frame model (paper Table 7). Mask2Former
# has no anchors, so there is no denoising of any kind; boxes for association
# are those of the masks; frame matching is Hungarian, as Mask2Former's.
_base_ = ['./refinevis_r50.py']

num_classes = 40
embed_dims = 256
num_points = 12544  # 112 x 112
attention = dict(
    embed_dims=embed_dims, num_heads=8, dropout=0.0, batch_first=True)
# softmax, the last class is "no object"
loss_cls = dict(
    type='CrossEntropyLoss',
    use_sigmoid=False,
    loss_weight=2.0,
    reduction='mean',
    class_weight=[1.0] * num_classes + [0.1])

model = dict(
    frame_model=dict(
        _delete_=True,
        type='refinevis_mm.Mask2Former',
        backbone=_base_.model.frame_model.backbone,
        # mmdet's, trained on COCO; the class branch has another size
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/'
            'mask2former/mask2former_r50_8xb2-lsj-50e_coco/'
            'mask2former_r50_8xb2-lsj-50e_coco_20220506_191028-41b088b6.pth'),
        head=dict(
            type='refinevis_mm.Mask2FormerHead',
            in_channels=[256, 512, 1024, 2048],
            strides=[4, 8, 16, 32],
            feat_channels=embed_dims,
            out_channels=embed_dims,
            num_things_classes=num_classes,
            num_stuff_classes=0,
            num_queries=100,
            num_transformer_feat_level=3,
            pixel_decoder=dict(
                type='MSDeformAttnPixelDecoder',
                num_outs=3,
                norm_cfg=dict(type='GN', num_groups=32),
                act_cfg=dict(type='ReLU'),
                encoder=dict(  # DeformableDetrTransformerEncoder
                    num_layers=6,
                    layer_cfg=dict(
                        self_attn_cfg=dict(
                            attention, num_levels=3, num_points=4),
                        ffn_cfg=dict(
                            embed_dims=embed_dims,
                            feedforward_channels=1024,
                            num_fcs=2,
                            ffn_drop=0.0,
                            act_cfg=dict(type='ReLU', inplace=True)))),
                positional_encoding=dict(num_feats=128, normalize=True)),
            positional_encoding=dict(num_feats=128, normalize=True),
            transformer_decoder=dict(  # Mask2FormerTransformerDecoder
                return_intermediate=True,
                num_layers=9,
                layer_cfg=dict(
                    self_attn_cfg=attention,
                    cross_attn_cfg=attention,
                    ffn_cfg=dict(
                        embed_dims=embed_dims,
                        feedforward_channels=2048,
                        num_fcs=2,
                        ffn_drop=0.0,
                        act_cfg=dict(type='ReLU', inplace=True))),
                init_cfg=None),
            loss_cls=loss_cls,
            loss_mask=dict(
                type='CrossEntropyLoss',
                use_sigmoid=True,
                reduction='mean',
                loss_weight=5.0),
            loss_dice=dict(
                type='DiceLoss',
                use_sigmoid=True,
                activate=True,
                reduction='mean',
                naive_dice=True,
                eps=1.0,
                loss_weight=5.0),
            train_cfg=dict(
                num_points=num_points,
                oversample_ratio=3.0,
                importance_sample_ratio=0.75,
                assigner=dict(
                    type='HungarianAssigner',
                    match_costs=[
                        dict(type='ClassificationCost', weight=2.0),
                        dict(
                            type='CrossEntropyLossCost',
                            weight=5.0,
                            use_sigmoid=True),
                        dict(
                            type='DiceCost',
                            weight=5.0,
                            pred_act=True,
                            eps=1.0)
                    ]),
                sampler=dict(type='MaskPseudoSampler')))),
    association_cdn=None,
    temporal_cdn=None,
    tar_head=dict(
        loss_cls=dict(loss_cls, _delete_=True),
        loss_mask=dict(
            _delete_=True,
            num_points=num_points,
            mask_weight=5.0,
            dice_weight=5.0)))
