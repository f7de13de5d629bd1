# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Shares of the parts of a concatenation."""
from itertools import islice

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset

from refinevis_mm.engine.samplers import source_ratio_sampler
from refinevis_mm.engine.samplers.source_ratio_sampler import \
    SourceRatioSampler


class _Numbers(BaseDataset):

    def __init__(self, first, length):
        self._range = range(first, first + length)
        super().__init__()

    def load_data_list(self):
        return [dict(number=number) for number in self._range]


@pytest.fixture
def both():
    return ConcatDataset([_Numbers(0, 1000), _Numbers(1000, 4)])


def test_shares_and_order(both):
    drawn = list(
        islice(SourceRatioSampler(both, source_ratio=[3, 1], seed=0), 800))
    small = [i for i in drawn if i >= 1000]
    assert 160 < len(small) < 240
    # each part is seen whole before it starts anew
    for start in range(0, 160, 4):
        assert sorted(small[start:start + 4]) == [1000, 1001, 1002, 1003]
    large = [i for i in drawn if i < 1000]
    assert len(set(large)) == len(large)
    assert both[small[0]]['number'] == small[0]


def test_a_share_of_zero(both):
    drawn = islice(SourceRatioSampler(both, source_ratio=[0, 2], seed=0), 20)
    assert min(drawn) == 1000


def test_processes_share_one_sequence(both, monkeypatch):
    whole = list(islice(SourceRatioSampler(both, [1, 1], seed=5), 60))
    assert whole == list(islice(SourceRatioSampler(both, [1, 1], seed=5), 60))
    assert whole != list(islice(SourceRatioSampler(both, [1, 1], seed=6), 60))
    for rank in range(3):
        monkeypatch.setattr(source_ratio_sampler, 'get_dist_info', lambda:
                            (rank, 3))
        part = SourceRatioSampler(both, [1, 1], seed=5)
        assert list(islice(part, 20)) == whole[rank::3]
        assert len(part) == 1004


def test_refused(both):
    with pytest.raises(TypeError, match='ConcatDataset, got _Numbers'):
        SourceRatioSampler(_Numbers(0, 3), [1])
    for ratio in ([1], [1, -1], [0, 0]):
        with pytest.raises(ValueError, match='source_ratio'):
            SourceRatioSampler(both, ratio)
