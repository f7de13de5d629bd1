# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What lets the supported versions of the libraries below us work together."""
from .versions import check_versions

__all__ = ['activate', 'check_versions']


def activate() -> None:
    """Prepare mmcv, mmengine and torch; safe to call any number of times.

    Must run before mmdet's model code is imported, because that is the first
    to ask mmcv for its compiled operators.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    from .checkpoints import allow_mmengine_globals
    from .mmcv_lite import install_stub
    from .whole_local_backend import register_whole_backend

    install_stub()
    allow_mmengine_globals()
    register_whole_backend()
    MODULE2PACKAGE.setdefault('refinevis_mm', 'refinevis-mm')
