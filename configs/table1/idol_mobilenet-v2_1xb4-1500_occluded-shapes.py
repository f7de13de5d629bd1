# Small IDOL: 1,500 iterations of four pairs of frames.
_base_ = [
    '../_base_/models/idol_mobilenet-v2.py',
    '../_base_/datasets/occluded_shapes.py',
    '../_base_/schedules/schedule_small_1500_idol.py',
    '../_base_/small_runtime.py'
]

train_dataloader = dict(batch_size=4)

load_from = \
    'work_dirs/idol-frames_mobilenet-v2_1xb8-1500_occluded-shapes/' \
    'iter_1500.pth'
