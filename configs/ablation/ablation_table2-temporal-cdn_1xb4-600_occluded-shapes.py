# Paper Table 2, row 3: and their tracklets in refinement (Sec. 3.5). These
# are the settings of the base.
_base_ = [
    '../refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py'
]

model = dict(
    association_cdn=dict(type='refinevis_mm.AssociationCDN', loss_weight=1.0),
    temporal_cdn=dict(type='refinevis_mm.TemporalCDN', loss_weight=1.0))
