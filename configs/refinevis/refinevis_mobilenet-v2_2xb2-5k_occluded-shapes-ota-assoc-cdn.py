# With the pairs of denoising queries in the association loss (paper Sec. 3.5).
_base_ = ['./refinevis_mobilenet-v2_2xb2-5k_occluded-shapes-ota.py']

model = dict(
    association_cdn=dict(
        _delete_=True, type='refinevis_mm.AssociationCDN', loss_weight=1.0))
