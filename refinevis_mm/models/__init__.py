# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .adapters import (CallableSegmenter, ClassAgnosticRPNHead, MMDetSegmenter,
                       Segmenter, TARMask2FormerTrackHead, TARMask2FormerVideo,
                       TARMaskTrackRCNN, TrackedSegmenter)
from .association import (CenterPriorCost, ContrastiveHead, ContrastiveTracker,
                          IoUPairSelector, OTAAssigner, OTAPairSelector,
                          StitchingTracker, StreamingTracker, Tracker)
from .backbones import EfficientNetLite
from .base_vis_model import BaseVISModel
from .denoising import (AssociationCDN, ClipCdnQueryGenerator,
                        MaskDINODnQueryGenerator, TemporalCDN)
from .frame_level import (CondInstDetector, CondInstHead,
                          DeformableDETRCondInst, DeformableDETRDecoder,
                          DeformableDETREncoder, FrameModel,
                          FrameModelDetector, Mask2Former, Mask2FormerHead,
                          MaskDINO, MaskDINODecoder, MaskDINOHead,
                          MaskDINOPixelDecoder, RFDETRSeg)
from .layers import GIoUCost, GIoULoss, use_attention_backend
from .refinement import (EmbeddingHeads, InstanceHeads, MatchedTrackletBuilder,
                         TARHead, TrackedTrackletBuilder, predict_tracks)
from .refinevis import RefineVIS
from .seqformer import (ClipBoxCost, ClipGIoUCost, SeqFormer, SeqFormerDecoder,
                        SeqFormerHead, SeqFormerNetwork)
from .vita import VITA, VITAHead

__all__ = [
    'AssociationCDN', 'BaseVISModel', 'CallableSegmenter', 'CenterPriorCost',
    'ClassAgnosticRPNHead', 'ClipBoxCost', 'ClipCdnQueryGenerator',
    'ClipGIoUCost', 'CondInstDetector', 'CondInstHead', 'ContrastiveHead',
    'ContrastiveTracker', 'DeformableDETRCondInst', 'DeformableDETRDecoder',
    'DeformableDETREncoder', 'EfficientNetLite', 'EmbeddingHeads',
    'FrameModel', 'FrameModelDetector', 'GIoUCost', 'GIoULoss',
    'InstanceHeads', 'IoUPairSelector', 'Mask2Former', 'Mask2FormerHead',
    'MaskDINO', 'MaskDINODecoder', 'MaskDINODnQueryGenerator', 'MaskDINOHead',
    'MaskDINOPixelDecoder', 'MatchedTrackletBuilder', 'MMDetSegmenter',
    'OTAAssigner', 'OTAPairSelector', 'predict_tracks', 'RefineVIS',
    'RFDETRSeg', 'Segmenter', 'SeqFormer', 'SeqFormerDecoder', 'SeqFormerHead',
    'SeqFormerNetwork', 'StitchingTracker', 'StreamingTracker', 'TARHead',
    'TARMask2FormerTrackHead', 'TARMask2FormerVideo', 'TARMaskTrackRCNN',
    'TemporalCDN', 'TrackedSegmenter', 'TrackedTrackletBuilder', 'Tracker',
    'use_attention_backend', 'VITA', 'VITAHead'
]
