# Weight decay of IDOL and SeqFormer, the same for all weights.
_base_ = ['./schedule_small_1500.py']

optim_wrapper = dict(
    optimizer=dict(weight_decay=1e-4),
    paramwise_cfg=dict(
        _delete_=True, custom_keys=dict(backbone=dict(lr_mult=0.25))))
