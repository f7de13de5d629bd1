# Runtime of the phases on videos, each of which starts from the one before.
_base_ = ['./default_runtime.py']
auto_scale_lr = dict(enable=False, base_batch_size=16)  # clips
