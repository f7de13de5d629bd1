# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Models of mmdet, which are parts of ours."""
from .family import Family, same_rules
from .rules import rename

BACKBONE = rename(r'backbone\.(.+)', r'frame_model.backbone.\1')
MMDET = (
    Family('Mask2Former of mmdet', ('panoptic_head.', ),
           same_rules(BACKBONE,
                      rename(r'panoptic_head\.(.+)', r'frame_model.head.\1')),
           official=False, target='frame_model.head.'),
    Family('Mask2FormerVideo of mmdet', ('track_head.', ),
           same_rules(BACKBONE,
                      rename(r'track_head\.(.+)', r'frame_model.head.\1')),
           official=False, target='frame_model.head.'),
    Family('detector of mmdet', ('', ),
           same_rules(rename(r'(.+)', r'segmenter.detector.\1')),
           parts=('segmenter', ),
           official=False, target='segmenter.detector.'),
)  # yapf: disable
