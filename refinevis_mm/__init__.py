# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Online and offline video instance segmentation with RefineVIS.

Importing the package checks that mmengine, mmcv and mmdet lie in the
supported ranges and prepares them (:mod:`refinevis_mm.compat`) before any of
mmdet is imported. It imports no model code itself.
"""
from .compat import activate, check_versions
from .version import __version__

check_versions()
activate()

__all__ = ['__version__']
