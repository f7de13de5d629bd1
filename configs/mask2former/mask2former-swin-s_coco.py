_base_ = ['./mask2former-swin-t_coco.py']

model = dict(frame_model=dict(backbone=dict(depths=[2, 2, 18, 2])))
