_base_ = ['./schedule_vis_13k.py', './swin-l_custom_keys.py']

optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.swin_l_custom_keys))
