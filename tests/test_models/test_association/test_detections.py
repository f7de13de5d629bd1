# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch

from refinevis_mm.models.association import detections


@pytest.mark.parametrize('value', [-0.1, 1.1, math.nan])
def test_shares(value):
    detections.check_shares(low=0, high=1, half=0.5)
    with pytest.raises(ValueError, match=r'thr must lie in \[0, 1\], got '):
        detections.check_shares(fine=0.5, thr=value)


@pytest.mark.parametrize('value', [0, -3])
def test_counts(value):
    detections.check_counts(one=1, many=300)
    with pytest.raises(ValueError, match=f'frames must be >= 1, got {value}'):
        detections.check_counts(fine=1, frames=value)


def test_finite_values_are_counted():
    detections.check_finite(none=torch.zeros(0), scores=torch.ones(2, 3))
    bad = torch.tensor([[1., math.inf], [math.nan, 0.]])
    with pytest.raises(
            ValueError, match='boxes must be finite, got 2 .* of 4 values'):
        detections.check_finite(scores=torch.ones(1), boxes=bad)


@pytest.mark.parametrize('frame_id', [3, 4])
def test_order(frame_id):
    detections.check_order(5, 4)
    detections.check_order(50, 4)  # frames may be left out
    with pytest.raises(ValueError, match=f'got {frame_id} after 4'):
        detections.check_order(frame_id, 4)


@pytest.mark.parametrize('change, match', [
    (dict(last_frame_id='5'), 'last_frame_id of tracker state must be int'),
    (dict(next_id=None), 'next_id of tracker state must be int'),
    (dict(forgotten=[[1]]), 'must be ids and frames'),
    (dict(forgotten=[3]), 'forgotten of tracker state must be list'),
    (dict(tracks=5), 'tracks of tracker state must be'),
    (dict(other=5), r"a difference in \['other'\]"),
])
def test_states_have_a_form(change, match):
    state = dict(
        last_frame_id=3, next_id=2, forgotten=[[0, 1]], tracks=None, own={})
    detections.check_keys(state, state)
    with pytest.raises(ValueError, match=match):
        detections.check_keys(dict(state, **change), state)
