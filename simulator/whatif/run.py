"""Enrolls a fleet in simulated time and counts what it comes to, wherever its cohorts are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulator.cohort import enroll_cohort
from simulator.counting import DeviceTally
from simulator.engine import Engine
from simulator.population import Cohort, cohorts
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.tally import Tally
from simulator.whatif.shards import WHOLE, Shard

Advance = Callable[[int], None]
"""Told how many more devices are through."""


def run_cohort(scenario: Scenario, seed: int, cohort: Cohort) -> Tally:
    """Enroll the devices of one cohort."""
    return run_cohorts(scenario, seed, (cohort,))


def run_cohorts(scenario: Scenario, seed: int, some: Sequence[Cohort]) -> Tally:
    """Enroll the devices of some cohorts, one cohort after another."""
    rollout, tally = Rollout(scenario), Tally()
    for cohort in some:
        enroll_cohort(rollout, seed, cohort, lambda device: DeviceTally(tally, device), percents=())
    return tally


def count_fleet(
    engine: Engine,
    scenario: Scenario,
    *,
    devices: int,
    seed: int,
    shard: Shard = WHOLE,
    advance: Advance = lambda _: None,
) -> Tally:
    """Enroll a fleet, or one shard of it. After an interruption it counts the devices that were through.

    Raises:
        EngineFailed: the engine broke.
    """
    whole = Tally()
    units = shard.part(cohorts(scenario, seed, devices))
    for tally, count in engine.results(run_cohorts, scenario, seed, units):
        whole.add(tally)
        advance(count)
    return whole
