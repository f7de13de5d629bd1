# Missed frames are hidden from attention instead of seen as zeros.
_base_ = ['./ablation_tar-plain_2xb2-5k_occluded-shapes.py']

model = dict(tar_head=dict(mask_missing=True))
