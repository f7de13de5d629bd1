# Paper Table 5, row 1: neither jitter nor refinement.
_base_ = ['./ablation_table5-no-lsj_1xb4-600_occluded-shapes.py']

model = dict(tar_head=None, tracklet_builder=None, temporal_cdn=None, window=0)
