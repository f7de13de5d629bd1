# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .vita import VITA
from .vita_head import VITAHead

__all__ = ['VITA', 'VITAHead']
