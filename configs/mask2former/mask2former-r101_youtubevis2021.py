_base_ = ['./mask2former-r50_youtubevis2021.py']

model = dict(frame_model=dict(backbone=dict(depth=101)))
