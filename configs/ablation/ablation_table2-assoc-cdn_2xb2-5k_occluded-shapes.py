# Paper Table 2, row 2: their pairs in the association loss too (Sec. 3.5).
_base_ = ['./ablation_table2-frame-cdn_2xb2-5k_occluded-shapes.py']

model = dict(
    association_cdn=dict(_delete_=True, type='refinevis_mm.AssociationCDN'))
