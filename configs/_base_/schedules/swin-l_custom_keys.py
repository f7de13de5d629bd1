# Optimizer settings by parameter for Swin-L. A key in custom_keys hides
# norm_decay_mult from the parameters it names, so the norms of the backbone
# are named as well, and the position tables.
backbone_no_decay = dict(lr_mult=0.1, decay_mult=0.0)
swin_l_custom_keys = {
    'relative_position_bias_table': backbone_no_decay,
    'backbone.patch_embed.norm': backbone_no_decay,
    'backbone.norm': backbone_no_decay,
}
swin_l_custom_keys.update({
    f'backbone.stages.{stage}.blocks.{block}.norm':
    backbone_no_decay
    for stage, depth in enumerate([2, 2, 18, 2])
    for block in range(depth)
})
swin_l_custom_keys.update({
    f'backbone.stages.{stage}.downsample.norm':
    backbone_no_decay
    for stage in range(3)
})
