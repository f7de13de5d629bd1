# SeqFormer (https://arxiv.org/abs/2112.08275) with ResNet-50, numbers of the
# detectron2 version (VNext): the network of IDOL with queries that look at all
# frames of a clip, and losses of clips.
_base_ = ['./idol_r50.py']

model = dict(
    _delete_=True,
    type='refinevis_mm.SeqFormer',
    num_instances=10,
    cls_thr=0.05,
    data_preprocessor=_base_.model.data_preprocessor,
    frame_model=dict(
        type='refinevis_mm.SeqFormerNetwork',
        backbone=_base_.model.frame_model.backbone,
        neck=_base_.model.frame_model.neck,
        encoder=_base_.model.frame_model.encoder,
        decoder=dict(
            _base_.model.frame_model.decoder,
            type='refinevis_mm.SeqFormerDecoder'),
        head=dict(
            _base_.model.frame_model.head,
            type='refinevis_mm.SeqFormerHead',
            assigner=dict(
                type='HungarianAssigner',
                match_costs=[
                    dict(type='FocalLossCost', weight=2.0, eps=1e-8),
                    dict(type='refinevis_mm.ClipBoxCost', weight=5.0),
                    dict(type='refinevis_mm.ClipGIoUCost', weight=2.0)
                ]))))
