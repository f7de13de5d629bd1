_base_ = ['./maskdino_r50_4s-hid2048_16xb1-lsj-50e_coco.py']

model = dict(frame_model=dict(anchor_init='bitmask'))
