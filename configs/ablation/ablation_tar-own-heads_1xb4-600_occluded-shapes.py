# Class and mask heads of TAR's own instead of those of the frame model.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

frame_head = _base_.model.frame_model.head

model = dict(
    tar_head=dict(
        heads=dict(
            type='refinevis_mm.EmbeddingHeads',
            num_classes=frame_head.num_classes,
            embed_dims=frame_head.embed_dims,
            mask_dims=frame_head.mask_dims,
            cls_prior=frame_head.cls_prior)))
