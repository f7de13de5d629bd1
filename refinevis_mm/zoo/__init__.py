# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Named weights: what there is, where it comes from, under which licence."""
from .cache import cache_folder, fetch_address, fetch_weights
from .entry import StatedResult, ZooEntry, licence_line
from .names import UnknownNameError, find_entry, list_entries, own_entries
from .part_file import DownloadError

__all__ = [
    'DownloadError', 'StatedResult', 'UnknownNameError', 'ZooEntry',
    'cache_folder', 'fetch_address', 'fetch_weights', 'find_entry',
    'licence_line', 'list_entries', 'own_entries'
]
