# Half of the batches are refined frame after frame, as online inference does.
_base_ = ['./ablation_tar-plain_2xb2-5k_occluded-shapes.py']

model = dict(tar_head=dict(recursive_prob=0.5))
