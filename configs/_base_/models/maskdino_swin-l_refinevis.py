# Frame model of RefineVIS Swin-L, for its first phase, on images (paper Sec.
# 4.1): five levels, nine decoder layers and DINO's contrastive denoising.
_base_ = ['./maskdino_swin-l.py']

model = dict(
    frame_model=dict(
        empty_mask_anchor='box',
        dn_query_generator=dict(
            _delete_=True,
            type='refinevis_mm.ClipCdnQueryGenerator',
            num_classes=_base_.num_classes,
            embed_dims=_base_.embed_dims,
            num_dn_pairs=500,
            label_noise_scale=0.5,
            box_noise_scale=1.0)))
