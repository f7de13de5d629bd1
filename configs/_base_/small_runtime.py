# One or two CPU cores.
_base_ = ['./default_runtime.py']

env_cfg = dict(dist_cfg=dict(backend='gloo'))
default_hooks = dict(checkpoint=dict(interval=500))
randomness = dict(seed=0)
