# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .condinst_detector import CondInstDetector
from .condinst_head import CondInstHead
from .deformable_detr_condinst import DeformableDETRCondInst
from .deformable_detr_transformer import (DeformableDETRDecoder,
                                          DeformableDETREncoder)
from .frame_model import FrameModel
from .frame_model_detector import FrameModelDetector
from .mask2former import Mask2Former
from .mask2former_head import Mask2FormerHead
from .maskdino import MaskDINO
from .maskdino_decoder import MaskDINODecoder
from .maskdino_head import MaskDINOHead
from .maskdino_pixel_decoder import MaskDINOPixelDecoder
from .rfdetr_seg import RFDETRSeg
from .rfdetr_weights import load_rfdetr_weights

__all__ = [
    'CondInstDetector', 'CondInstHead', 'DeformableDETRCondInst',
    'DeformableDETRDecoder', 'DeformableDETREncoder', 'FrameModel',
    'FrameModelDetector', 'Mask2Former', 'Mask2FormerHead', 'MaskDINO',
    'MaskDINODecoder', 'MaskDINOHead', 'MaskDINOPixelDecoder', 'RFDETRSeg',
    'load_rfdetr_weights'
]
