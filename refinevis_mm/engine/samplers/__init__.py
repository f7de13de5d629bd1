# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .source_ratio_sampler import SourceRatioSampler
from .video_batch_sampler import VideoBatchSampler
from .whole_video_sampler import WholeVideoSampler

__all__ = ['SourceRatioSampler', 'VideoBatchSampler', 'WholeVideoSampler']
