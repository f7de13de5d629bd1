# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .efficientnet_lite import EfficientNetLite

__all__ = ['EfficientNetLite']
