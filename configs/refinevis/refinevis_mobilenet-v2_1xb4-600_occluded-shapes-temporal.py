# Second phase of the shipped small model: both denoising extensions of the
# paper, and TAR trained as it is used (see README.md).
_base_ = ['./refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py']

train_dataloader = dict(batch_size=4)

load_from = 'checkpoints/refinevis_mobilenet-v2_occluded-shapes.pth'

model = dict(
    frame_loss_on='first',  # the frame model has had its phase
    score_missed=True,
    association_cdn=dict(
        _delete_=True, type='refinevis_mm.AssociationCDN', loss_weight=1.0),
    temporal_cdn=dict(
        _delete_=True, type='refinevis_mm.TemporalCDN', loss_weight=1.0),
    tar_head=dict(drop_prob=0.3, recursive_prob=0.5))

max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=50,
        end=max_iters,
        eta_min_ratio=0.01)
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
