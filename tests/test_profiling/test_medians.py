# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest

from refinevis_mm.profiling import compare, spread, summarise


def test_summary_by_hand():
    runs = [dict(backbone=t, total=t) for t in (0.004, 0.001, 0.002, 0.003)]
    runs.append(dict(backbone=0.005, decoder=0.1, total=0.105))
    stages = summarise(runs)
    assert list(stages) == ['backbone', 'decoder', 'total']
    assert stages['backbone'] == dict(
        median=pytest.approx(3),
        q1=pytest.approx(2),
        q3=pytest.approx(4),
        min=1)
    assert stages['decoder']['median'] == 0


def test_one_value_has_no_spread():
    assert spread([5]) == dict(median=5, q1=5, q3=5, min=5)


def test_ratio_by_hand():
    first = [dict(backbone=1, total=t) for t in (2, 4, 6)]
    second = [dict(backbone=4, heads=1, total=t) for t in (1, 4, 4)]
    found = compare(first, second)
    # of the pairs: 2, 1, 1.5
    assert found == dict(
        median=1,
        q1=pytest.approx(1.25),
        q3=pytest.approx(1.75),
        pairs=3,
        stages=dict(backbone=0.25))
