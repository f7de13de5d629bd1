# TAR after IDOL (paper Table 7).
_base_ = [
    '../_base_/models/condinst_mobilenet-v2_refinevis.py',
    '../_base_/datasets/occluded_shapes.py',
    '../_base_/schedules/schedule_small_500.py', '../_base_/small_runtime.py'
]

train_dataloader = dict(batch_size=4)

model = dict(
    # IDOL's values for OVIS, as these are videos of objects that hide
    tracker=dict(mask_nms_thr=0.3, new_score_thr=0.3),
    tar_head=dict(drop_prob=0.3, recursive_prob=0.5))

load_from = \
    'work_dirs/idol_mobilenet-v2_1xb4-1500_occluded-shapes/iter_1500.pth'
