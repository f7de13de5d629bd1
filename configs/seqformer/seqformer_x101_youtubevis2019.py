# For weights of the original repository, at test: ResNeXt-101, 64 x 4d.
_base_ = ['./seqformer_r101_youtubevis2019.py']

model = dict(
    frame_model=dict(
        backbone=dict(type='ResNeXt', groups=64, base_width=4, init_cfg=None)))
