# Paper Table 2, row 1: denoising queries at the frame level only.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(association_cdn=None, temporal_cdn=None)
