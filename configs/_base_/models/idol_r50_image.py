# The image model of IDOL R50 alone, with the 80 classes of COCO.
_base_ = ['./idol_r50.py']

num_classes = 80
frame_model = _base_.frame_model

model = dict(
    _delete_=True,
    type='refinevis_mm.CondInstDetector',
    data_preprocessor=dict(
        _base_.model.data_preprocessor, type='DetDataPreprocessor'),
    backbone=_base_.resnet,
    frame_model=dict(
        frame_model, head=dict(frame_model.head, num_classes=num_classes)),
    # NMS of all queries, then the best (query, class) pairs
    test_cfg=dict(max_per_img=100, nms_iou_thr=0.7))
