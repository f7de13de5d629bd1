# Everyday model, second half of phase 1: larger images.
_base_ = ['./maskdino_efficientnet-lite0_2xb4-3k_everyday-160.py']

image_size = (320, 320)  # (width, height) of the padded training images
sizes = dict(
    RandomResize=dict(scale=image_size),
    RandomCrop=dict(crop_size=image_size),
    Pad=dict(size=image_size))
train_pipeline = [
    dict(transform, **sizes.get(transform['type'], {}))
    for transform in _base_.train_pipeline
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))

load_from = ('work_dirs/maskdino_efficientnet-lite0_2xb4-3k_everyday-160/'
             'iter_3000.pth')
num_points = 1024  # a sixth of the stride-4 cells
model = dict(
    allow_mismatch=False,
    frame_model=dict(
        head=dict(
            num_match_points=num_points, loss_mask=dict(
                num_points=num_points))))

max_iters = 2500
train_cfg = dict(max_iters=max_iters, val_interval=500)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters)
]
auto_scale_lr = dict(base_batch_size=4)
