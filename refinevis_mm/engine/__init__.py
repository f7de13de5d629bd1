# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Hooks and data samplers; the registries import their classes from here."""
