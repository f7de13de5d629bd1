# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tracklets that turned out to be one."""
from dataclasses import dataclass, field
from typing import Callable, Dict, Mapping, TypeVar

import numpy as np

Value = TypeVar('Value')


@dataclass
class TrackMerges:
    """Tracklets that turned out to continue older ones.

    Attributes:
        ids (dict[int, int]): Id of the older tracklet by that of the younger
            one, which is never given again.
        cls_scores (dict[str, dict[int, np.ndarray]]): By view, then by older
            id: running mean of all class scores over both tracklets, float64,
            has shape (K, ).
    """

    ids: Dict[int, int] = field(default_factory=dict)
    cls_scores: Dict[str, Dict[int, np.ndarray]] = field(default_factory=dict)


def chain_merges(ids: Mapping[int, int],
                 later: Mapping[int, int]) -> Dict[int, int]:
    """Merges of which some come after others, as one step.

    Args:
        ids (Mapping[int, int]): As ``TrackMerges.ids``.
        later (Mapping[int, int]): The same of what is merged afterwards.

    Returns:
        dict[int, int]: Both.
    """
    chained = {old: later.get(new, new) for old, new in ids.items()}
    return {**chained, **later}


def merge_entries(entries: Mapping[int, Value], ids: Mapping[int, int],
                  join: Callable[[Value, Value], Value]) -> Dict[int, Value]:
    """Entries of tracklets after a merge.

    Args:
        entries (Mapping[int, Value]): By id, older tracklets first.
        ids (Mapping[int, int]): As ``TrackMerges.ids``.
        join (Callable): Makes one entry of that of the older and of the
            younger tracklet.

    Returns:
        dict[int, Value]: By the ids after the merge.
    """
    merged: Dict[int, Value] = {}
    for track_id, value in entries.items():
        track_id = ids.get(track_id, track_id)
        if track_id in merged:
            value = join(merged[track_id], value)
        merged[track_id] = value
    return merged
