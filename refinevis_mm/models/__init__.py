# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .association import ContrastiveHead, ContrastiveTracker
from .denoising import ClipCdnQueryGenerator
from .frame_level import (FrameModel, MaskDINO, MaskDINODecoder, MaskDINOHead,
                          MaskDINOPixelDecoder)
from .refinement import TARHead
from .refinevis import RefineVIS

__all__ = [
    'ClipCdnQueryGenerator', 'ContrastiveHead', 'ContrastiveTracker',
    'FrameModel', 'MaskDINO', 'MaskDINODecoder', 'MaskDINOHead',
    'MaskDINOPixelDecoder', 'RefineVIS', 'TARHead'
]
