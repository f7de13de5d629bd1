# Paper Table 3: one training, tested offline with --cfg-options
# model.window=W for W = 0, 2, 4, 8, 10, 16, 20.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(mode='offline')
