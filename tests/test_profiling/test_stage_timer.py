# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import threading

import pytest
import torch

from refinevis_mm.profiling import StageTimer


@pytest.fixture
def timer():
    with StageTimer(torch.device('cpu')) as timer:
        yield timer


def test_time_inside_a_stage_counts_once(timer):
    clock = iter([0, 1, 3, 7, 10, 20])  # outer 0..20, inner 1..3 and 7..10
    timer.now = lambda: next(clock)
    inner = timer.timed('inner', lambda: None)

    def outer():
        inner()
        inner()

    assert timer.measure(outer) == {'inner': 5, 'other': 15, 'total': 20}


def test_other_threads_do_not_lengthen_a_run(timer):
    clock = iter([0, 1, 4, 9])  # run 0..9, beside it 1..4
    timer.now = lambda: next(clock)
    decode = timer.timed('decode', lambda: None)

    def run():
        thread = threading.Thread(target=decode)
        thread.start()
        thread.join()

    assert timer.measure(run) == {'other': 9, 'total': 9, 'decode (beside)': 3}


def test_waiting_for_items(timer):
    clock = iter([0, 1, 3, 5, 6, 7, 10, 11])
    timer.now = lambda: next(clock)
    seen = []

    def run():
        seen.extend(timer.timed_items('decode', iter('ab')))

    times = timer.measure(run)
    assert seen == ['a', 'b']
    # 1..3, 5..6, and 7..10 for the end of all items
    assert times == {'decode': 6, 'other': 5, 'total': 11}


def test_everything_is_undone():

    class Parent:

        def inherited(self):
            return 1

    class Child(Parent):

        def own(self):
            return 2

        @classmethod
        def of_class(cls):
            return cls

        @staticmethod
        def static():
            return 4

    before = dict(vars(Child))
    module = torch.nn.Identity()
    with StageTimer(torch.device('cpu')) as timer:
        for name in ('inherited', 'own', 'of_class', 'static'):
            timer.wrap(Child, name, 'calls')
        timer.wrap(module, 'forward', 'forward')

        def run():
            child = Child()
            assert (child.inherited(), child.own(), child.of_class(),
                    child.static()) == (1, 2, Child, 4)
            assert module(torch.ones(1)) == 1

        assert set(
            timer.measure(run)) == {'calls', 'forward', 'other', 'total'}
    assert dict(vars(Child)) == before
    assert 'forward' not in vars(module)


def test_an_error_leaves_the_timer_usable(timer):

    def fail():
        raise KeyError('x')

    with pytest.raises(KeyError):
        timer.measure(timer.timed('stage', fail))
    assert set(timer.measure(lambda: None)) == {'other', 'total'}
