# Small IDOL: 1,500 iterations of four pairs of frames.
_base_ = [
    '../_base_/models/idol_mobilenet-v2.py',
    '../_base_/datasets/occluded_shapes.py',
    '../_base_/schedules/schedule_small_1500_idol.py',
    '../_base_/small_runtime.py'
]

train_dataloader = dict(batch_size=4)

# IDOL's values for OVIS, as these are videos of objects that hide
model = dict(tracker=dict(mask_nms_thr=0.3, new_score_thr=0.3))

load_from = \
    'work_dirs/idol-frames_mobilenet-v2_1xb8-1500_occluded-shapes/' \
    'iter_1500.pth'
