# Paper Table 2, row 3: and their tracklets in refinement (Sec. 3.5).
_base_ = ['./ablation_table2-assoc-cdn_2xb2-5k_occluded-shapes.py']

model = dict(temporal_cdn=dict(_delete_=True, type='refinevis_mm.TemporalCDN'))
