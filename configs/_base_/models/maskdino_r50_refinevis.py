# Frame model of RefineVIS R50, for its first phase, on images (paper Sec.
# 4.1): four levels, six decoder layers and DINO's contrastive denoising.
_base_ = ['./maskdino_r50_4s.py']

model = dict(
    frame_model=dict(
        anchor_init='bitmask',
        empty_mask_anchor='box',
        decoder=dict(num_layers=6),
        dn_query_generator=dict(
            _delete_=True,
            type='refinevis_mm.ClipCdnQueryGenerator',
            num_classes=_base_.num_classes,
            embed_dims=_base_.embed_dims,
            num_dn_pairs=100,
            label_noise_scale=0.5,
            box_noise_scale=1.0)))
