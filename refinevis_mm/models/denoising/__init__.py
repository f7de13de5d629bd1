# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .association_cdn import AssociationCDN
from .clip_cdn_query_generator import ClipCdnQueryGenerator
from .maskdino_dn_query_generator import MaskDINODnQueryGenerator
from .temporal_cdn import TemporalCDN

__all__ = [
    'AssociationCDN', 'ClipCdnQueryGenerator', 'MaskDINODnQueryGenerator',
    'TemporalCDN'
]
