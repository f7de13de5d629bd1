# SeqFormer with Swin-L, ImageNet-22k weights of 384 x 384 pixels.
_base_ = ['./seqformer_r50.py', './swin-l_backbone.py']

model = dict(
    frame_model=dict(
        backbone=dict(_base_.swin_l, _delete_=True, out_indices=(1, 2, 3)),
        neck=dict(in_channels=[384, 768, 1536])))
