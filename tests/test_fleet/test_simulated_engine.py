# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Fleets on paper, against numbers by hand."""
import pytest

from refinevis_mm.fleet import FleetCosts, simulate_fleet
from refinevis_mm.fleet.simulated_engine import SimulatedEngine


def test_by_hand():
    # two workers are ready at 5; one runs 10 + 10, the other 4 + 10 + 10
    costs = FleetCosts(start=5., videos=[10., 4., 10., 10., 10.], driver=0.)
    fleet = simulate_fleet(costs, 2)
    assert fleet.seconds == 5 + 4 + 10 + 10
    assert fleet.efficiency == pytest.approx(44 / 2 / 29)
    assert simulate_fleet(costs, 1).seconds == 5 + 44
    # more workers than videos
    assert simulate_fleet(costs, 8).seconds == 5 + 10


def test_the_driver_hands_out_one_after_the_other():
    costs = FleetCosts(start=0., videos=[10.] * 4, driver=1.)
    fleet = simulate_fleet(costs, 4)
    assert fleet.seconds == 4 + 10
    assert fleet.driver == pytest.approx(4 / 14)


def test_the_storage_is_shared():
    costs = FleetCosts(
        start=0., videos=[1.] * 6, driver=0., num_bytes=50., bandwidth=10.)
    fleet = simulate_fleet(costs, 3)  # bound by 6 transfers of 5 seconds
    assert fleet.seconds == 6 * 5 + 1
    assert fleet.storage == pytest.approx(30 / 31)


class Mortal(SimulatedEngine):
    """Workers live 7 seconds each."""

    def start(self, worker):
        super().start(worker)
        self._end_of[worker] = self.now + self.costs.start + 7


@pytest.mark.parametrize(
    'checkpoint, seconds',
    [
        # alive from 2 to 9: three checkpoints, 6 seconds; the rest from 11 on
        (2., 2 + 7 + 2 + 4),
        # and one of 6 seconds
        (6., 2 + 7 + 2 + 4),
    ])
def test_a_death_costs_what_came_after_the_checkpoint(checkpoint, seconds,
                                                      monkeypatch):
    monkeypatch.setattr('refinevis_mm.fleet.simulated_engine.SimulatedEngine',
                        Mortal)
    costs = FleetCosts(
        start=2., videos=[10.], driver=0., checkpoint=checkpoint)
    fleet = simulate_fleet(costs, 1)
    assert (fleet.seconds, fleet.num_deaths, fleet.num_failed) == (seconds, 1,
                                                                   0)


def test_without_checkpoints_long_videos_fail(monkeypatch):
    monkeypatch.setattr('refinevis_mm.fleet.simulated_engine.SimulatedEngine',
                        Mortal)
    costs = FleetCosts(start=2., videos=[10., 1.], driver=0.)
    fleet = simulate_fleet(costs, 1)
    assert (fleet.num_deaths, fleet.num_failed) == (3, 1)


def test_deaths_are_those_of_the_seed():
    costs = FleetCosts(
        start=1., videos=[5.] * 300, driver=.01, lifetime=60., checkpoint=1.)
    fleets = [simulate_fleet(costs, 10, seed) for seed in (0, 0, 1)]
    assert fleets[0] == fleets[1] != fleets[2]
    # 150 seconds of 10 workers, one death a minute each
    assert 15 <= fleets[0].num_deaths <= 40
    assert fleets[0].num_failed == 0
