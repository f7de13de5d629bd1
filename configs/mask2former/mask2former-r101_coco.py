_base_ = ['./mask2former-r50_coco.py']

model = dict(frame_model=dict(backbone=dict(depth=101)))
