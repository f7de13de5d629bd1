# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Families that are recognised and not converted yet."""
from .family import Family

# without the first `detr.` in the repository that it comes from
SEQFORMER = Family(
    'SeqFormer',
    tuple(f'{prefix}transformer.decoder.layers.0.norm1_box.'
          for prefix in ('detr.detr.', 'detr.')), None)
