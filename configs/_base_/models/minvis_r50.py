# MinVIS (https://arxiv.org/abs/2208.02245): Mask2Former, trained on single
# frames, whose queries are matched from frame to frame. COCO's 80 classes.
_base_ = ['./mask2former_r50_streaming.py']

model = dict(
    frame_model=dict(
        # mmdet's, trained on COCO
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/'
            'mask2former/mask2former_r50_8xb2-lsj-50e_coco/'
            'mask2former_r50_8xb2-lsj-50e_coco_20220506_191028-41b088b6.pth')),
    tracker=dict(_delete_=True, type='refinevis_mm.QueryMatcher'),
    frame_loss_on='all',
    # the 10 best (query, class) pairs of the video, whatever their scores
    score_average='logits',
    cls_thr=0.0,
    max_per_video=10)
