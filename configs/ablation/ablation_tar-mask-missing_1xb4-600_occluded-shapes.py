# Missed frames are hidden from attention instead of seen as zeros.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(tar_head=dict(mask_missing=True))
