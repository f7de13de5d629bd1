# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The version of refinevis_mm; setup.py reads it without importing torch."""

__version__ = '0.2.0'
