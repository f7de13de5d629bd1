# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the tests of TAR in other people's trackers share."""
from typing import Any

import pytest
import torch
from mmengine.structures import InstanceData


def hide_frame(tracker: Any, frame_id: int,
               monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a tracker find nothing in one frame."""
    track = tracker.track

    def track_or_miss(data_sample, **kwargs):
        found = track(data_sample=data_sample, **kwargs)
        return found[:0] if data_sample.frame_id == frame_id else found

    monkeypatch.setattr(tracker, 'track', track_or_miss)


def assert_equal_instances(actual: InstanceData,
                           expected: InstanceData) -> None:
    """Same fields, same tensors, bit by bit."""
    assert set(actual.keys()) == set(expected.keys())
    for key, value in expected.items():
        assert torch.equal(actual[key], value), key
