# One-to-many matching as in the paper (Sec. 4.1), pairs as in IDOL.
_base_ = ['./refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py']

model = dict(
    frame_model=dict(
        head=dict(
            assigner=dict(_delete_=True, type='refinevis_mm.OTAAssigner'))),
    pair_selector=dict(_delete_=True, type='refinevis_mm.OTAPairSelector'))
