# Small Mask2Former-VIS: 3,000 iterations of four pairs of frames.
_base_ = [
    '../_base_/models/mask2former-vis_mobilenet-v2.py',
    '../_base_/datasets/occluded_shapes.py',
    '../_base_/schedules/schedule_small_3k.py', '../_base_/small_runtime.py'
]

no_decay = dict(decay_mult=0.0)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            query_embed=no_decay, query_feat=no_decay, level_embed=no_decay)))

# whole videos
val_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
