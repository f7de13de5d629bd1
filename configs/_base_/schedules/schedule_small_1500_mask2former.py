# Frame models of Mask2Former: queries and level embeddings do not decay, as in
# schedule_minvis_6k.py.
_base_ = ['./schedule_small_1500.py']

no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            query_embed=no_decay, query_feat=no_decay, level_embed=no_decay)))
