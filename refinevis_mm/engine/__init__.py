# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the Runner is extended by."""
from .hooks import RandomStateHook

__all__ = ['RandomStateHook']
