# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .clip_cdn_query_generator import ClipCdnQueryGenerator

__all__ = ['ClipCdnQueryGenerator']
