_base_ = [
    '../_base_/models/mask2former_r50_refinevis.py',
    '../_base_/datasets/youtubevis2021_idol.py',
    '../_base_/schedules/schedule_vis_13k.py', '../_base_/default_runtime.py'
]

no_decay = dict(decay_mult=0.0)  # Mask2Former
max_iters = _base_.train_cfg.max_iters

train_dataloader = dict(batch_size=2)  # x 8 GPUs: 16 clips, paper Sec. 4.1
# The labels of the official validation set are not public: one validation, at
# the end, writes the file for the evaluation server.
train_cfg = dict(val_interval=max_iters)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            query_embed=no_decay, query_feat=no_decay, level_embed=no_decay)))
val_evaluator = dict(
    outfile_prefix='work_dirs/refinevis_mask2former_youtubevis2021/results')
test_evaluator = val_evaluator
