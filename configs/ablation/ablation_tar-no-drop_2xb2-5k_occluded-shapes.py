# No frames dropped in training: zeros only where the frame model missed.
_base_ = ['./ablation_tar-plain_2xb2-5k_occluded-shapes.py']

model = dict(tar_head=dict(drop_prob=0.0))
