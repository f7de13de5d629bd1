# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest

from refinevis_mm.models import ContrastiveTracker, StreamingTracker, Tracker

MEMBERS = ('live_ids', 'discarded_ids', 'reset', 'select', 'track',
           'state_dict', 'load_state_dict')


@pytest.mark.parametrize('kind', [ContrastiveTracker, StreamingTracker])
def test_trackers_keep_the_contract(kind):
    tracker = kind()
    assert isinstance(tracker, Tracker)
    assert tracker.live_ids == tracker.discarded_ids == []


@pytest.mark.parametrize('lacking', MEMBERS)
def test_a_class_needs_every_member_and_no_base(lacking):
    full = type('Own', (), dict.fromkeys(MEMBERS, len))
    assert isinstance(full(), Tracker)
    members = {name: len for name in MEMBERS if name != lacking}
    assert not isinstance(type('Own', (), members)(), Tracker)
