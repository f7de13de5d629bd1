# The temporal encoding in queries and keys only: values stay bare.
_base_ = ['./ablation_tar-plain_2xb2-5k_occluded-shapes.py']

model = dict(tar_head=dict(pe_placement='qk'))
