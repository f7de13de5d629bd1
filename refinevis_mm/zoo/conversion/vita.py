# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""VITA: Mask2Former of detectron2 and a module for whole videos."""
from .family import Family, same_rules
from .mask2former import RULES as FRAME_RULES
from .rules import ATTENTION, drop, rename

MODULE, OURS = r'vita_module\.', 'clip_head.'
ENCODER, OUR_ENCODER = MODULE + r'enc_{}\.(\d+)\.', OURS + r'encoder.layers.\1.'
ENC_SELF, ENC_FFN = (ENCODER.format(kind) for kind in ('self_attn', 'ffn'))
DECODER = MODULE + r'transformer_{}_layers\.(\d+)\.'
OUR_DECODER = OURS + r'decoder.layers.\1.'
CROSS, SELF, FFN = (
    DECODER.format(kind)
    for kind in ('cross_attention', 'self_attention', 'ffn'))

RULES = (
    *FRAME_RULES,
    rename(MODULE + r'input_proj_dec\.(\w+)', OURS + r'input_proj.\1'),
    rename(ENC_SELF + r'self_attn\.' + ATTENTION,
           OUR_ENCODER + r'self_attn.attn.\2'),
    rename(ENC_SELF + r'norm\.(\w+)', OUR_ENCODER + r'norms.0.\2'),
    rename(ENC_FFN + r'linear1\.(\w+)', OUR_ENCODER + r'ffn.layers.0.0.\2'),
    rename(ENC_FFN + r'linear2\.(\w+)', OUR_ENCODER + r'ffn.layers.1.\2'),
    rename(ENC_FFN + r'norm\.(\w+)', OUR_ENCODER + r'norms.1.\2'),
    rename(MODULE + r'(query_feat|query_embed)\.weight', OURS + r'\1.weight'),
    rename(MODULE + r'fq_pos\.weight', OURS + 'frame_query_embed.weight'),
    rename(CROSS + r'multihead_attn\.' + ATTENTION,
           OUR_DECODER + r'cross_attn.attn.\2'),
    rename(CROSS + r'norm\.(\w+)', OUR_DECODER + r'norms.0.\2'),
    rename(SELF + r'self_attn\.' + ATTENTION,
           OUR_DECODER + r'self_attn.attn.\2'),
    rename(SELF + r'norm\.(\w+)', OUR_DECODER + r'norms.1.\2'),
    rename(FFN + r'linear1\.(\w+)', OUR_DECODER + r'ffn.layers.0.0.\2'),
    rename(FFN + r'linear2\.(\w+)', OUR_DECODER + r'ffn.layers.1.\2'),
    rename(FFN + r'norm\.(\w+)', OUR_DECODER + r'norms.2.\2'),
    rename(MODULE + r'decoder_norm\.(\w+)', OURS + r'decoder.post_norm.\1'),
    rename(MODULE + r'class_embed\.(\w+)', OURS + r'cls_embed.\1'),
    *(rename(MODULE + rf'mask_embed\.layers\.{i}\.(\w+)',
             OURS + rf'mask_embed.{2 * i}.\1') for i in range(3)),
    rename(MODULE + r'vita_mask_features\.(\w+)', OURS + r'mask_feature.\1'),
    rename(MODULE + r'sim_embed_(frame|clip)\.(\w+)',
           OURS + r'\1_sim_embed.\2'),
    drop(r'vita_criterion\.empty_weight', 'weights of the classes in the '
         'loss, which are in the config'),
)  # yapf: disable


VITA = Family(
    'VITA', ('vita_module.', ),
    same_rules(*RULES),
    parts=('frame_model', 'clip_head'))
