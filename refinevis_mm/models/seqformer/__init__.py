# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .clip_costs import ClipBoxCost, ClipGIoUCost
from .clip_matcher import ClipMatcher
from .running_clips import RunningClips
from .seqformer import SeqFormer
from .seqformer_decoder import SeqFormerDecoder
from .seqformer_head import SeqFormerHead
from .seqformer_layer import SeqFormerDecoderLayer
from .seqformer_network import SeqFormerNetwork

__all__ = [
    'ClipBoxCost', 'ClipGIoUCost', 'ClipMatcher', 'RunningClips', 'SeqFormer',
    'SeqFormerDecoder', 'SeqFormerDecoderLayer', 'SeqFormerHead',
    'SeqFormerNetwork'
]
