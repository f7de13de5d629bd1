# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Mask2Former of detectron2, and what is built on it: MinVIS and CTVIS.

The keys of Mask2Former for images, panoptic images and videos are the same,
and those of MinVIS are no others. Files of the first versions of Mask2Former
call the queries ``static_query`` and have no ``pixel_decoder.`` in their keys.
"""
from .backbones import backbone_rules
from .family import Family, same_rules
from .rules import ATTENTION, SAMPLING, drop, rename

HEAD = r'sem_seg_head\.'
PIXELS, OUR_PIXELS = HEAD + r'(?:pixel_decoder\.)?', 'frame_model.head.' \
    'pixel_decoder.'
ENCODER = PIXELS + r'transformer\.encoder\.layers\.(\d+)\.'
OUR_ENCODER = OUR_PIXELS + r'encoder.layers.\1.'
PREDICTOR, OURS = HEAD + r'predictor\.', 'frame_model.head.'
DECODER = PREDICTOR + r'transformer_{}_layers\.(\d+)\.'
CROSS, SELF, FFN = (
    DECODER.format(kind)
    for kind in ('cross_attention', 'self_attention', 'ffn'))
OUR_DECODER = OURS + r'transformer_decoder.layers.\1.'

RULES = (
    *backbone_rules(r'backbone\.'),
    rename(PIXELS + r'input_proj\.(\d+)\.0\.(\w+)',
           OUR_PIXELS + r'input_convs.\1.conv.\2'),
    rename(PIXELS + r'input_proj\.(\d+)\.1\.(\w+)',
           OUR_PIXELS + r'input_convs.\1.gn.\2'),
    rename(PIXELS + r'transformer\.level_embed',
           OUR_PIXELS + 'level_encoding.weight'),
    rename(ENCODER + r'self_attn\.' + SAMPLING,
           OUR_ENCODER + r'self_attn.\2.\3'),
    rename(ENCODER + r'linear1\.(\w+)', OUR_ENCODER + r'ffn.layers.0.0.\2'),
    rename(ENCODER + r'linear2\.(\w+)', OUR_ENCODER + r'ffn.layers.1.\2'),
    rename(ENCODER + r'norm1\.(\w+)', OUR_ENCODER + r'norms.0.\2'),
    rename(ENCODER + r'norm2\.(\w+)', OUR_ENCODER + r'norms.1.\2'),
    rename(PIXELS + r'adapter_1\.weight',
           OUR_PIXELS + 'lateral_convs.0.conv.weight'),
    rename(PIXELS + r'adapter_1\.norm\.(\w+)',
           OUR_PIXELS + r'lateral_convs.0.gn.\1'),
    rename(PIXELS + r'layer_1\.weight',
           OUR_PIXELS + 'output_convs.0.conv.weight'),
    rename(PIXELS + r'layer_1\.norm\.(\w+)',
           OUR_PIXELS + r'output_convs.0.gn.\1'),
    rename(PIXELS + r'mask_features\.(\w+)', OUR_PIXELS + r'mask_feature.\1'),
    rename(PREDICTOR + r'(?:query_feat|static_query)\.weight',
           OURS + 'query_feat.weight'),
    rename(PREDICTOR + r'(query_embed|level_embed)\.weight',
           OURS + r'\1.weight'),
    rename(PREDICTOR + r'input_proj\.(\d)\.(\w+)',
           OURS + r'decoder_input_projs.\1.\2'),
    rename(CROSS + r'multihead_attn\.' + ATTENTION,
           OUR_DECODER + r'cross_attn.attn.\2'),
    rename(CROSS + r'norm\.(\w+)', OUR_DECODER + r'norms.0.\2'),
    rename(SELF + r'self_attn\.' + ATTENTION,
           OUR_DECODER + r'self_attn.attn.\2'),
    rename(SELF + r'norm\.(\w+)', OUR_DECODER + r'norms.1.\2'),
    rename(FFN + r'linear1\.(\w+)', OUR_DECODER + r'ffn.layers.0.0.\2'),
    rename(FFN + r'linear2\.(\w+)', OUR_DECODER + r'ffn.layers.1.\2'),
    rename(FFN + r'norm\.(\w+)', OUR_DECODER + r'norms.2.\2'),
    rename(PREDICTOR + r'decoder_norm\.(\w+)',
           OURS + r'transformer_decoder.post_norm.\1'),
    rename(PREDICTOR + r'class_embed\.(\w+)', OURS + r'cls_embed.\1'),
    *(rename(PREDICTOR + rf'mask_embed\.layers\.{i}\.(\w+)',
             OURS + rf'mask_embed.{2 * i}.\1') for i in range(3)),
    rename(PREDICTOR + r'reid_embed\.layers\.(\d)\.(\w+)',
           r'association_head.mlp.layers.\1.\2'),
    drop(r'criterion\.empty_weight', 'weights of the classes in the loss, '
         'which are in the config'),
)  # yapf: disable


CTVIS = Family(
    'CTVIS', ('sem_seg_head.predictor.reid_embed.', ),
    same_rules(*RULES),
    parts=('frame_model', 'association_head'))
MASK2FORMER = Family(
    'Mask2Former or MinVIS',
    ('sem_seg_head.predictor.transformer_cross_attention_layers.', ),
    same_rules(*RULES))
