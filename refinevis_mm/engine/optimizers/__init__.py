# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from .grouped_adamw import GroupedAdamW

__all__ = ['GroupedAdamW']
