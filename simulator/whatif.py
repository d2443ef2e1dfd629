"""What a scenario would do to its users: the whole fleet in simulated time, wherever its cohorts are computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from simulator.cohort import enroll_cohort
from simulator.counting import DeviceTally
from simulator.engine import Engine, local
from simulator.figures import figures_of, labels_of
from simulator.interruption import Interruption
from simulator.population import Cohort
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.shards import WHOLE, Shard
from simulator.tally import Tally

Advance = Callable[[int], None]
"""Told how many more devices are through."""


def run_cohort(scenario: Scenario, seed: int, cohort: Cohort) -> Tally:
    """Enroll the devices of one cohort."""
    return run_cohorts(scenario, seed, (cohort,))


def run_cohorts(scenario: Scenario, seed: int, cohorts: Sequence[Cohort]) -> Tally:
    """Enroll the devices of some cohorts, one cohort after another."""
    rollout, tally = Rollout(scenario), Tally()
    for cohort in cohorts:
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
    cohorts = shard.cohorts(scenario, seed, devices)
    for tally, count in engine.results(run_cohorts, scenario, seed, cohorts):
        whole.add(tally)
        advance(count)
    return whole


def what_if(
    scenario: Scenario, *, devices: int, seed: int, jobs: int, advance: Advance = lambda _: None
) -> dict[str, Any]:
    """The figures of the whole fleet, as `esp-sim whatif --json` prints them."""
    began = time.perf_counter()
    with local(jobs, Interruption()) as engine:
        tally = count_fleet(engine, scenario, devices=devices, seed=seed, advance=advance)
    return as_json(scenario, seed, tally, seconds=time.perf_counter() - began)


def as_json(scenario: Scenario, seed: int, tally: Tally, *, seconds: float) -> dict[str, Any]:
    """What was counted as `--json` prints it. `seconds` of wall-clock time come last: all before is the fleet's."""
    return {
        "devices": tally.whole.devices,
        "seed": seed,
        **figures_of(tally, labels_of(scenario)),
        "seconds": round(seconds, 3),
    }
