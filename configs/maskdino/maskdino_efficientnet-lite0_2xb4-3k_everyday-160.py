# Everyday model, first half of phase 1: small images, from ImageNet weights
# of the backbone and, for what knows no classes, the shapes model's weights.
_base_ = [
    '../_base_/models/maskdino_efficientnet-lite0.py',
    '../_base_/datasets/everyday_images.py', '../_base_/coco_runtime.py',
    '../_base_/schedules/schedule_everyday.py'
]

load_from = 'checkpoints/refinevis_mobilenet-v2_occluded-shapes.pth'
num_points = 400  # a quarter of the stride-4 cells
model = dict(
    allow_mismatch=True,  # other classes, another backbone
    frame_model=dict(
        head=dict(
            num_match_points=num_points, loss_mask=dict(
                num_points=num_points))))

custom_hooks = [_base_.ema_hook]
default_hooks = dict(checkpoint=dict(interval=500))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
