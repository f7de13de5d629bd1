# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Models of mmdet, which are parts of ours."""
from typing import Callable, List, Mapping

from torch import Tensor

from .family import Family, Options
from .rules import Rule, rename


def _with(*rules: Rule) -> Callable[[Mapping[str, Tensor], Options], List]:
    """A table that is the same for all weights."""
    return lambda state_dict, options: list(rules)


BACKBONE = rename(r'backbone\.(.+)', r'frame_model.backbone.\1')
MMDET = (
    Family('Mask2Former of mmdet', ('panoptic_head.', ),
           _with(BACKBONE,
                 rename(r'panoptic_head\.(.+)', r'frame_model.head.\1')),
           official=False, target='frame_model.head.'),
    Family('Mask2FormerVideo of mmdet', ('track_head.', ),
           _with(BACKBONE,
                 rename(r'track_head\.(.+)', r'frame_model.head.\1')),
           official=False, target='frame_model.head.'),
    Family('detector of mmdet', ('', ),
           _with(rename(r'(.+)', r'segmenter.detector.\1')),
           parts=('segmenter', ),
           official=False, target='segmenter.detector.'),
)  # yapf: disable
