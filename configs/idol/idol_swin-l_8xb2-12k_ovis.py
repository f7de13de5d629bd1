_base_ = [
    '../_base_/models/idol_swin-l.py', '../_base_/datasets/ovis_idol.py',
    '../_base_/schedules/schedule_idol_12k.py', '../_base_/default_runtime.py'
]

num_classes = 25
model = dict(
    frame_model=dict(head=dict(num_classes=num_classes)),
    # IDOL's values for OVIS; the defaults are those for YouTube-VIS
    tracker=dict(mask_nms_thr=0.3, new_score_thr=0.3))
