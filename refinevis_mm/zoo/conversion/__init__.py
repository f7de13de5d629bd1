# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Checkpoints of other code bases under our keys: one table a family.

``convert_state_dict`` is the whole of it; ``load_checkpoint_renamed`` of
``refinevis_mm.zoo.loading`` and ``tools/model_converters/
convert_checkpoint.py`` read and write files around it.
"""
from .engine import (FAMILIES, Conversion, KeyUse, convert_state_dict,
                     explain_mismatch, find_family, unknown_family)
from .traits import Traits, read_traits

__all__ = [
    'FAMILIES', 'Conversion', 'KeyUse', 'Traits', 'convert_state_dict',
    'explain_mismatch', 'find_family', 'read_traits', 'unknown_family'
]
