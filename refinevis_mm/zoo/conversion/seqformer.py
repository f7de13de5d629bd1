# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""SeqFormer of VNext and of the repository that it comes from.

The parts that IDOL has, too, are called as there.
"""
from dataclasses import replace
from typing import List, Mapping

from torch import Tensor

from refinevis_mm.compat.checkpoints import CheckpointError
from .backbones import OURS as BACKBONE
from .family import Family, Options, same_rules
from .idol import DECODER, ENCODER, OUR_DECODER, RULES
from .rules import ATTENTION, Rule, drop, rename

# Rows of classes in SeqFormer's own repository are ids of YouTube-VIS, which
# begin at 1; the rows before and after them stand for nothing.
ORIGINAL_ROWS, FIRST_ROW, NUM_CLASSES = 42, 1, 40

OWN_RULES = (
    drop(ENCODER + r'self_attn\.output_proj_box\.(\w+)',
         'not used by the encoder'),
    rename(DECODER + r'cross_attn\.output_proj_box\.(\w+)',
           OUR_DECODER + r'cross_attn.output_proj_box.\2'),
    rename(DECODER + r'self_attn_box\.' + ATTENTION,
           OUR_DECODER + r'box_self_attn.attn.\2'),
    # in the order in which they are used, as those of the instance queries
    rename(DECODER + r'norm2_box\.(\w+)', OUR_DECODER + r'box_norms.0.\2'),
    rename(DECODER + r'norm1_box\.(\w+)', OUR_DECODER + r'box_norms.1.\2'),
    rename(DECODER + r'norm3_box\.(\w+)', OUR_DECODER + r'box_norms.2.\2'),
    rename(DECODER + r'linear1_box\.(\w+)',
           OUR_DECODER + r'box_ffn.layers.0.0.\2'),
    rename(DECODER + r'linear2_box\.(\w+)',
           OUR_DECODER + r'box_ffn.layers.1.\2'),
    rename(DECODER + r'time_attention_weights\.(\w+)',
           OUR_DECODER + r'time_attention.\2'),
)  # yapf: disable


def classes_of_rows(value: Tensor) -> Tensor:
    """Rows of a class branch of SeqFormer's own repository that are classes.

    Args:
        value (Tensor): Weight (42, C) or bias (42, ).

    Returns:
        Tensor: Rows 1 to 40, in the order of the categories.
    """
    return value[FIRST_ROW:FIRST_ROW + NUM_CLASSES]


def original_rules(state_dict: Mapping[str, Tensor],
                   options: Options) -> List[Rule]:
    """Rows for the keys of SeqFormer's own repository.

    Those of VNext without their first ``detr.``, but for ResNets, which have
    the names of torchvision, as ours do.

    Args:
        state_dict (Mapping[str, Tensor]): Official weights.
        options (:obj:`Options`): None of them is read.

    Returns:
        list[:obj:`Rule`]: The rows.

    Raises:
        CheckpointError: If there are other rows of classes than 42.
    """
    rows = state_dict.get('detr.class_embed.0.bias')
    if rows is not None and len(rows) != ORIGINAL_ROWS:
        raise CheckpointError(
            f'SeqFormer of its own repository must have {ORIGINAL_ROWS} rows '
            f'of classes, the ids of YouTube-VIS, got {len(rows)}')
    body = r'detr\.backbone\.0\.body\.'
    classes = rename(r'detr\.class_embed\.(\d+)\.(\w+)',
                     r'frame_model.head.fc_cls.\1.\2',
                     'rows 1 to 40, the ids of YouTube-VIS', classes_of_rows)
    renamed = [
        replace(
            rule,
            pattern=rule.pattern[len(r'detr\.'):].replace(
                r'backbone\.0\.backbone\.', r'backbone\.0\.body\.'))
        for rule in (*OWN_RULES, *RULES)
    ]
    return [
        classes,
        rename(body + r'((?:conv1|bn1|layer\d)\..+)', BACKBONE + r'\1'),
        *renamed
    ]


SIGN = 'transformer.decoder.layers.0.norm1_box.'
SEQFORMER = Family('SeqFormer of VNext', (f'detr.detr.{SIGN}', ),
                   same_rules(*OWN_RULES, *RULES))
ORIGINAL_SEQFORMER = Family('SeqFormer of its own repository',
                            (f'detr.{SIGN}', ), original_rules)
