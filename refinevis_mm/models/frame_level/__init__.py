# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .frame_model import FrameModel
from .maskdino import MaskDINO
from .maskdino_decoder import MaskDINODecoder
from .maskdino_head import MaskDINOHead
from .maskdino_pixel_decoder import MaskDINOPixelDecoder

__all__ = [
    'FrameModel', 'MaskDINO', 'MaskDINODecoder', 'MaskDINOHead',
    'MaskDINOPixelDecoder'
]
