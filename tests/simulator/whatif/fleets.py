"""Figures of small fleets, as the commands come to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simulator.engine import local
from simulator.interruption import Interruption
from simulator.scenario import Scenario
from simulator.scenario_file import read_scenario
from simulator.whatif.counted import Alone, Counted, Question, Run, count
from simulator.whatif.overrides import overridden
from simulator.whatif.search import Find, search, search_figures
from simulator.whatif.shards import WHOLE, Shard
from simulator.whatif.versions import Versions, run_versions


def counted(
    scenario: Scenario,
    question: Question | None = None,
    *,
    devices: int,
    seed: int,
    shard: Shard = WHOLE,
    jobs: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Counted:
    """What a fleet, or a shard of it, comes to."""
    with local(jobs, Interruption()) as engine:
        run = Run(scenario, question or Alone(), seed, devices)
        return count(engine, run, shard=shard, advance=advance)


def figures_of(
    scenario: Scenario, question: Question | Find | None = None, *, devices: int, seed: int
) -> dict[str, Any]:
    """The figures of a fleet, without the seconds."""
    if isinstance(question, Find):
        found = search(scenario, question, runner(devices, seed))
        return {
            "title": scenario.title,
            "devices": devices,
            "seed": seed,
            "find": search_figures(found),
        }
    return counted(scenario, question, devices=devices, seed=seed).figures()


def runner(
    devices: int = 80, seed: int = 3, jobs: int = 1
) -> Callable[[Sequence[Scenario]], Versions]:
    """Enrolls the same devices under each of some scenarios."""

    def run(scenarios: Sequence[Scenario]) -> Versions:
        with local(jobs, Interruption()) as engine:
            return run_versions(engine, scenarios, devices=devices, seed=seed)

    return run


def tight(**more: Any) -> Scenario:
    """One app that takes ten to forty minutes, and nothing else of interest."""
    data = {
        "name": "tight",
        "network": {"failure": 0},
        "population": [
            {
                "type": "windows_manual",
                "weight": 1,
                "device": "D-{n}",
                "os": [{"name": "Windows 11", "version": "10.0.22631"}],
            }
        ],
        "profiles": [
            {"priority": 1, "profile": {"id": "esp", "name": "ESP", "timeout_minutes": 30}}
        ],
        "apps": [{"id": "suite", "name": "Suite", "time": {"median_s": 1200, "spread": 1.4}}],
        "persons": {"typical": {"silent": 0, "error_screen": {"retries": 0}}},
    }
    return read_scenario(data | more, "tight")


def changed(scenario: Scenario, key: str, value: Any) -> Scenario:
    return overridden(scenario, [(key, value)], "test")
