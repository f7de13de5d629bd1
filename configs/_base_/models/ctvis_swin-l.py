# CTVIS with Swin-L (window 12) and 200 queries, see ctvis_r50.py.
_base_ = ['./ctvis_r50.py', './swin-l_backbone.py']

model = dict(
    frame_model=dict(
        backbone=dict(_base_.swin_l, _delete_=True, init_cfg=None),
        head=dict(num_queries=200, in_channels=[192, 384, 768, 1536])))
