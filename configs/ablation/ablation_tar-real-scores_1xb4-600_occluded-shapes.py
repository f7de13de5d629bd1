# A tracklet's class scores are averaged over the frames in which it was
# detected. This differs at test only.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(score_missed=False)
