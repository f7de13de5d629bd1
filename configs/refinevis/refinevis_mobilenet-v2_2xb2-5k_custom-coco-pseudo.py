# Any data set in COCO form as two-frame videos, on one or two CPU cores: the
# phase between maskdino_mobilenet-v2_2xb2-5k_custom-coco and
# refinevis_mobilenet-v2_2xb2-5k_custom-vis.
_base_ = [
    '../_base_/models/refinevis_mobilenet-v2.py',
    '../_base_/datasets/custom_coco_pseudo_video.py',
    '../_base_/schedules/schedule_small.py', '../_base_/phase_runtime.py'
]

load_from = 'work_dirs/maskdino_mobilenet-v2_2xb2-5k_custom-coco/iter_5000.pth'

num_classes = 80
model = dict(
    frame_model=dict(
        dn_query_generator=dict(num_classes=num_classes),
        head=dict(num_classes=num_classes)))
val_cfg = None
test_cfg = None
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
