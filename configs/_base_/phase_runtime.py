# Runtime of the phases on videos, each of which starts from the one before.
_base_ = ['./default_runtime.py']

custom_hooks = [
    dict(type='refinevis_mm.RandomStateHook'),
    dict(type='refinevis_mm.ClassRowsHook')
]
auto_scale_lr = dict(enable=False, base_batch_size=16)  # clips
