# RF-DETR-Seg nano trained on images, followed without training: nothing is
# learned of identities, so StreamingTracker compares what the image model has.
# COCO's 80 classes; the weights are those that the rfdetr package fetches.
_base_ = ['./rfdetr-seg_refinevis.py']

model = dict(
    window=0,
    frame_model=dict(num_classes=None, weights=None),
    association_head=None,
    pair_selector=None,
    tracker=dict(_delete_=True, type='refinevis_mm.StreamingTracker'),
    tracklet_builder=None,
    tar_head=None)
