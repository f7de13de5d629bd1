# Paper Table 2, row 2: their pairs in the association loss too (Sec. 3.5).
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(temporal_cdn=None)
