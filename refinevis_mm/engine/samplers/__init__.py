# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .source_ratio_sampler import SourceRatioSampler
from .unfinished_video_sampler import UnfinishedVideoSampler

__all__ = ['SourceRatioSampler', 'UnfinishedVideoSampler']
