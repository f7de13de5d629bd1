# MinVIS on YouTube-VIS 2019: 6k iterations, drop at 4k. The labels of the
# official validation sets are not public: one validation, at the end, writes
# the file for the evaluation server.
_base_ = ['./schedule_vis_13k.py']

max_iters = 6000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)

no_decay = dict(decay_mult=0.0)  # Mask2Former
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            query_embed=no_decay, query_feat=no_decay, level_embed=no_decay)))

param_scheduler = dict(milestones=[4000])
