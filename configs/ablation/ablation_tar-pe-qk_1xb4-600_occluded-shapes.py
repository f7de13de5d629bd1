# The temporal encoding in queries and keys only: values stay bare.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(tar_head=dict(pe_placement='qk'))
