# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""IDOL of VNext."""
from typing import Tuple

from torch import Tensor

from .backbones import backbone_rules
from .family import Family, same_rules
from .rules import ATTENTION, SAMPLING, drop, rename, split

DETR = r'detr\.detr\.'
ENCODER = DETR + r'transformer\.encoder\.layers\.(\d+)\.'
DECODER = DETR + r'transformer\.decoder\.layers\.(\d+)\.'
OURS = 'frame_model.'
OUR_ENCODER = OURS + r'encoder.encoder.layers.\1.'
OUR_DECODER = OURS + r'decoder.layers.\1.'
MASKS, OUR_MASKS = r'detr\.mask_head\.', OURS + 'head.mask_branch.'


def halves(value: Tensor) -> Tuple[Tensor, ...]:
    """The two halves of the columns of a tensor (N, 2 C).

    Args:
        value (Tensor): Has shape (N, 2 C).

    Returns:
        tuple[Tensor]: Two of shape (N, C).
    """
    return value.chunk(2, dim=1)


RULES = (
    # of the first map, which the detector does not read
    drop(DETR + r'backbone\.0\.backbone\.norm0\.\w+',
         'norm of a map that is not used'),
    *backbone_rules(DETR + r'backbone\.0\.backbone\.'),
    *(rename(DETR + rf'input_proj\.([012])\.{i}\.(\w+)',
             OURS + rf'neck.convs.\1.{part}.\2')
      for i, part in enumerate(('conv', 'gn'))),
    *(rename(DETR + rf'input_proj\.3\.{i}\.(\w+)',
             OURS + rf'neck.extra_convs.0.{part}.\1')
      for i, part in enumerate(('conv', 'gn'))),
    rename(DETR + r'transformer\.level_embed', OURS + 'encoder.level_embed'),
    rename(ENCODER + r'self_attn\.' + SAMPLING,
           OUR_ENCODER + r'self_attn.\2.\3'),
    rename(ENCODER + r'norm1\.(\w+)', OUR_ENCODER + r'norms.0.\2'),
    rename(ENCODER + r'norm2\.(\w+)', OUR_ENCODER + r'norms.1.\2'),
    rename(ENCODER + r'linear1\.(\w+)', OUR_ENCODER + r'ffn.layers.0.0.\2'),
    rename(ENCODER + r'linear2\.(\w+)', OUR_ENCODER + r'ffn.layers.1.\2'),
    split(DETR + r'query_embed\.weight',
          (OURS + 'decoder.query_pos_embedding.weight',
           OURS + 'decoder.query_embedding.weight'),
          'split into position and content', halves),
    rename(DETR + r'transformer\.reference_points\.(\w+)',
           OURS + r'decoder.reference_points.\1'),
    rename(DECODER + r'self_attn\.' + ATTENTION,
           OUR_DECODER + r'self_attn.attn.\2'),
    rename(DECODER + r'cross_attn\.' + SAMPLING,
           OUR_DECODER + r'cross_attn.\2.\3'),
    # self-attention is first in a layer, but its norm is the second in name
    rename(DECODER + r'norm2\.(\w+)', OUR_DECODER + r'norms.0.\2'),
    rename(DECODER + r'norm1\.(\w+)', OUR_DECODER + r'norms.1.\2'),
    rename(DECODER + r'norm3\.(\w+)', OUR_DECODER + r'norms.2.\2'),
    rename(DECODER + r'linear1\.(\w+)', OUR_DECODER + r'ffn.layers.0.0.\2'),
    rename(DECODER + r'linear2\.(\w+)', OUR_DECODER + r'ffn.layers.1.\2'),
    rename(DETR + r'class_embed\.(\d+)\.(\w+)', OURS + r'head.fc_cls.\1.\2'),
    # the decoder names the box branches of the detector once more
    rename(DETR + r'(?:transformer\.decoder\.)?bbox_embed\.(\d+)\.layers\.'
           r'(\d)\.(\w+)', OURS + r'head.fc_reg.\1.layers.\2.\3'),
    rename(r'detr\.controller\.layers\.(\d)\.(\w+)',
           OURS + r'head.controller.layers.\1.\2'),
    *(rename(MASKS + rf'{name}\.(\w+)', OUR_MASKS + rf'{target}.conv.\1')
      for name, target in (('lay3', 'fuse_convs.0'), ('lay4', 'fuse_convs.1'),
                           ('dcn', 'fuse_convs.2'), ('lay1', 'reduce_conv'),
                           ('lay2', 'out_conv'))),
    rename(r'detr\.reid_embed_head\.layers\.(\d)\.(\w+)',
           r'association_head.mlp.layers.\1.\2'),
)  # yapf: disable


IDOL = Family(
    'IDOL', ('detr.detr.transformer.', ),
    same_rules(*RULES),
    parts=('frame_model', 'association_head'))
