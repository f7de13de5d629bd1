# Small MaskTrack R-CNN, without TAR: 3,000 iterations of four pairs of frames.
# Needs compiled mmcv or torchvision.
_base_ = [
    '../tar_dropin/tar-masktrack-rcnn_mobilenet-v2_fpn_2xb2-5k_occluded-shapes.py'
]

model = dict(tar_head=None, tracklet_builder=None, window=0)

max_iters = 3000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
train_dataloader = dict(batch_size=4)
warm_up, annealing = _base_.param_scheduler
param_scheduler = [warm_up, dict(annealing, end=max_iters)]
