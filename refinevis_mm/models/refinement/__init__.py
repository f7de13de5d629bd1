# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .refiners import OfflineRefiner, OnlineRefiner, PassThroughRefiner
from .tar_head import TARHead

__all__ = ['OfflineRefiner', 'OnlineRefiner', 'PassThroughRefiner', 'TARHead']
