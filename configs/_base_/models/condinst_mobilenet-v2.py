# Small Deformable DETR with CondInst masks, for IDOL and SeqFormer on one or
# two CPU cores: the sizes of refinevis_mobilenet-v2.py.
_base_ = ['./mobilenet-v2_backbone.py']

small_dims = 128
small_levels = 3
small_layers = dict(
    num_layers=3,
    embed_dims=small_dims,
    num_levels=small_levels,
    feedforward_channels=512)
small_frame_model = dict(
    backbone=dict(_base_.mobilenet_v2, _delete_=True, out_indices=(2, 4, 7)),
    neck=dict(
        in_channels=_base_.mobilenet_v2_channels[1:],
        out_channels=small_dims,
        num_outs=small_levels),
    encoder=small_layers,
    decoder=dict(small_layers, num_queries=50),
    head=dict(num_classes=7, num_layers=3, embed_dims=small_dims))
