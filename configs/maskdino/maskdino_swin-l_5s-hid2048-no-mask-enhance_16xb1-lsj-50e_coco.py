_base_ = ['./maskdino_swin-l_5s-hid2048_16xb1-lsj-50e_coco.py']

model = dict(frame_model=dict(anchor_init='no'))
