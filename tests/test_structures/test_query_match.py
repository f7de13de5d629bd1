# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import torch

from refinevis_mm.structures import QueryMatch


def _match():
    """Objects 0 and 1 have queries 3 and 0, object 2 none."""
    return QueryMatch.one_to_one(torch.tensor([1, -1, -1, 0, -1]), 3)


def test_one_to_one_by_hand():
    match = _match()
    assert match.best_query.tolist() == [3, 0, -1]
    assert match.ignored.tolist() == [False] * 5
    assert match.background.tolist() == [False, True, True, False, True]


def test_matched_queries_are_never_ignored():
    match = _match()
    match.ignore(torch.tensor([True, True, False, False, True]))
    assert match.ignored.tolist() == [False, True, False, False, True]
    assert match.background.tolist() == [False, False, True, False, False]
    assert match.gt_inds.tolist() == [1, -1, -1, 0, -1]


def test_several_queries_of_an_object():
    match = QueryMatch(torch.tensor([0, 0, -1]), torch.tensor([1]))
    match.ignore(torch.ones(3, dtype=torch.bool))
    assert match.ignored.tolist() == [False, False, True]
    assert not match.background.any()


def test_padding_is_neither_object_nor_background():
    match = _match()
    match.ignore(torch.tensor([False, True, False, False, False]))
    padded = match.pad(7)
    assert padded.gt_inds.tolist() == [1, -1, -1, 0, -1, -1, -1]
    assert padded.background.tolist() == [
        False, False, True, False, True, False, False
    ]
    assert padded.best_query.tolist() == [3, 0, -1]
    assert len(match.gt_inds) == 5
    assert torch.equal(match.pad(5).background, match.background)
