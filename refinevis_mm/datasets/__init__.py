# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Data sets and their transforms."""
from .coco_pseudo_video import CocoPseudoVideoDataset
from .transforms import *  # noqa: F401,F403
from .vis_dataset import VISDataset

__all__ = ['CocoPseudoVideoDataset', 'VISDataset']
