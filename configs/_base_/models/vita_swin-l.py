# VITA with Swin-L (window 12) and 200 queries a frame, see vita_r50.py. Clip
# queries stay 100.
_base_ = ['./vita_r50.py', './swin-l_backbone.py']

num_frame_queries = 200

model = dict(
    frame_model=dict(
        backbone=dict(_base_.swin_l, _delete_=True, init_cfg=None),
        # mmdet's, trained on COCO's panoptic labels
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/'
            'mask2former/'
            'mask2former_swin-l-p4-w12-384-in21k_16xb1-lsj-100e_coco-panoptic/'
            'mask2former_swin-l-p4-w12-384-in21k_16xb1-lsj-100e_coco-panoptic_'
            '20220407_104949-82f8d28d.pth'),
        head=dict(
            num_queries=num_frame_queries, in_channels=[192, 384, 768, 1536])),
    clip_head=dict(num_frame_queries=num_frame_queries))
