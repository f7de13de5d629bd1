# Mask2Former R50 trained on images, followed without training: nothing is
# learned of identities, so StreamingTracker compares what the image model has.
# COCO's 80 classes; the weights are those of mmdet's detector.
_base_ = ['./mask2former_r50_refinevis.py']

num_classes = 80
loss_cls = dict(class_weight=[1.0] * num_classes + [0.1])

model = dict(
    window=0,
    frame_model=dict(
        init_cfg=None,
        backbone=dict(init_cfg=None),
        head=dict(num_things_classes=num_classes, loss_cls=loss_cls)),
    association_head=None,
    pair_selector=None,
    tracker=dict(_delete_=True, type='refinevis_mm.StreamingTracker'),
    tracklet_builder=None,
    tar_head=None)
