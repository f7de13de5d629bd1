# SeqFormer: IDOL's schedule at twice its learning rate.
_base_ = ['./schedule_idol_12k.py']

optim_wrapper = dict(optimizer=dict(lr=2e-4))
