# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import time

import pytest

from refinevis_mm.profiling import LoadMeter, machine

# user nice system idle iowait irq softirq steal guest guest_nice
BEFORE = '''cpu  0 0 0 0 0 0 0 0 0 0
cpu0 100 10 20 5000 30 1 2 3 50 5
cpu1 900 0 0 0 0 0 0 0 0 0
intr 1 2 3
'''
AFTER = BEFORE.replace('cpu0 100', 'cpu0 400')  # 3 s more


@pytest.fixture
def system(tmp_path, monkeypatch):
    """One core of ours, and clocks that are set by hand."""
    stat = tmp_path / 'stat'
    stat.write_text(BEFORE)
    monkeypatch.setattr(machine, 'STAT', str(stat))
    monkeypatch.setattr(machine, '_own_cores', lambda: [0])
    monkeypatch.setattr(machine.os, 'sysconf', lambda name: 100)
    clocks = dict(own=10., now=20.)
    monkeypatch.setattr(machine.time, 'process_time', lambda: clocks['own'])
    monkeypatch.setattr(machine.time, 'perf_counter', lambda: clocks['now'])

    def go_on(own, now):
        stat.write_text(AFTER)
        clocks['own'] += own
        clocks['now'] += now

    return go_on


def test_work_of_one_core_by_hand(system):
    """Idle and waiting is no work, guests are users already."""
    assert machine.busy_seconds() == 1.36


def test_others_by_hand(system):
    meter = LoadMeter()
    with meter:
        system(own=1., now=4.)
    assert meter.others == pytest.approx((3 - 1) / 4)
    assert meter.describe() == ('warning: other programs kept 0.50 of 1 core '
                                'busy: the times are too long')


def test_a_quiet_machine_is_no_warning(system):
    meter = LoadMeter()
    with meter:
        system(own=2.95, now=3.)
    assert meter.describe() == 'other programs kept 0.02 of 1 core busy'


def test_a_system_that_does_not_tell(system, monkeypatch):
    monkeypatch.setattr(machine, 'STAT', '/no/such/file')
    meter = LoadMeter()
    with meter:
        system(own=1., now=4.)
    assert meter.others is None
    assert meter.describe().startswith('warning: nothing here tells')


@pytest.mark.skipif(
    machine.busy_seconds() is None, reason='the system does not tell')
def test_our_own_work_does_not_count():
    """Also beside others: what they do, they do without us as well."""
    idle, busy = LoadMeter(), LoadMeter()
    with idle:
        time.sleep(0.3)
    with busy:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    cores = idle.num_cores
    assert 0 <= idle.others <= cores + 0.2 and 0 <= busy.others <= cores
