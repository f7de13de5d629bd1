# Recovered masks stay whole where they run into other objects, as in the
# paper. This differs at test only.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(exclusive_recovery=False)
