# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from refinevis_mm.structures import chain_merges, merge_entries


def test_entries_keep_the_place_of_the_older_one():
    entries = {3: 'a', 5: 'b', 8: 'c', 9: 'd'}
    merged = merge_entries(entries, {8: 3, 9: 3}, str.__add__)
    assert list(merged.items()) == [(3, 'acd'), (5, 'b')]
    # an older one that nobody knows any more
    assert list(merge_entries(entries, {5: 1}, str.__add__)) == [3, 1, 8, 9]
    assert merge_entries({}, {5: 1}, str.__add__) == {}


def test_later_merges_come_after_earlier_ones():
    assert chain_merges({5: 4, 7: 6}, {4: 1, 9: 6}) == {5: 1, 7: 6, 4: 1, 9: 6}
