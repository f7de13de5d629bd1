_base_ = [
    '../_base_/models/mask2former_r50_refinevis.py',
    '../_base_/datasets/youtubevis2021_lsj.py',
    '../_base_/schedules/schedule_vis_13k.py', '../_base_/phase_runtime.py'
]

no_decay = dict(decay_mult=0.0)  # Mask2Former

train_dataloader = dict(batch_size=2)  # x 8 GPUs: 16 clips, paper Sec. 4.1
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            query_embed=no_decay, query_feat=no_decay, level_embed=no_decay)))
