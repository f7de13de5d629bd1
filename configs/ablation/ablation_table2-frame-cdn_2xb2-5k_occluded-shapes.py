# Paper Table 2, row 1: denoising queries at the frame level only.
_base_ = ['../refinevis/refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py']

model = dict(association_cdn=None, temporal_cdn=None)
