# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from refinevis_mm.profiling import StageTimer, count_operators


def test_calls_by_stage():
    with StageTimer(torch.device('cpu')) as timer:
        negate = timer.timed('heads', lambda x: x.neg().neg())

        def run():
            negate(torch.ones(2)).neg()

        calls = count_operators(timer, run, num_units=2, top=2)
    # aten::ones calls aten::empty and aten::fill_
    assert calls['stages'] == {'heads': 1., 'other': 2.}
    assert calls['total'] == 3
    assert len(calls['top']) == 2
    assert calls['top'][0]['ms'] >= calls['top'][1]['ms'] > 0
    assert calls['backward_ms'] == {}


def test_backward_by_stage():
    big, small = nn.Linear(512, 512), nn.Linear(512, 1)
    with StageTimer(torch.device('cpu')) as timer:
        encoder = timer.timed('encoder', big)
        heads = timer.timed('heads', small)
        backward = timer.timed('backward', lambda loss: loss.backward())

        def run():
            backward(heads(encoder(torch.rand(256, 512))).sum())

        run()  # the first one allocates
        times = count_operators(timer, run)['backward_ms']
    assert {'encoder', 'heads'} <= set(times)
    assert times['encoder'] > times['heads'] > 0


def test_the_timer_forgets_the_profiler():
    with StageTimer(torch.device('cpu')) as timer:
        with pytest.raises(KeyError):
            count_operators(timer, lambda: {}['x'])
        assert timer.mark is nullcontext
        assert set(timer.measure(lambda: None)) == {'other', 'total'}
