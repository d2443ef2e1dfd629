"""Answers what people ask of several versions of a scenario: which is better, which value, the smallest that is enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from simulator.comparison import Comparison, comparison_figures
from simulator.engine import Engine
from simulator.figures import figures_of, labels_of
from simulator.interruption import Interruption
from simulator.scenario import Scenario
from simulator.sweep import find, search_figures, sweep, sweep_figures
from simulator.versions import Versions, run_versions


@dataclass(frozen=True, slots=True)
class Compare:
    """Is the other version better?"""

    other: Scenario
    what: str
    """What makes it another version: `raising timeout from 60 to 90`."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What does each of these values come to?"""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Find:
    """Which is the smallest value that reaches this success rate?"""

    key: str
    success_rate: float


Question = Compare | Sweep | Find

Tell = Callable[[int, int], None]
"""Told of so many more enrollments, and how many there are to do now."""


class CutShort(Exception):
    """The run was ended before there was an answer."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The devices that a question is about, and where they are computed."""

    scenario: Scenario
    devices: int
    seed: int
    engine: Engine
    interruption: Interruption
    tell: Tell = lambda _done, _all: None

    def run(self, scenarios: Sequence[Scenario]) -> Versions:
        """The same devices under each of these scenarios."""
        whole = self.devices * len(scenarios)
        return run_versions(
            self.engine,
            scenarios,
            devices=self.devices,
            seed=self.seed,
            advance=lambda done: self.tell(done, whole),
        )

    def run_whole(self, scenarios: Sequence[Scenario]) -> Versions:
        """The same, where a part of the devices would answer nothing.

        Raises:
            CutShort: somebody wants the run to end.
        """
        versions = self.run(scenarios)
        if self.interruption.happened:
            raise CutShort
        return versions


def answer(question: Question, fleet: Fleet) -> dict[str, Any]:
    """The answer as `--json` prints it. Wall-clock time comes last: all before is the fleet's.

    A comparison that is interrupted is about the devices that were through.

    Raises:
        EngineFailed: the engine broke.
        OverrideRefused: a key or value is not possible.
        CutShort: a sweep or search was interrupted.
    """
    began = time.perf_counter()
    labels = labels_of(fleet.scenario)
    figures: dict[str, Any] = {"devices": fleet.devices, "seed": fleet.seed}
    match question:
        case Compare(other=other, what=what):
            versions = fleet.run((fleet.scenario, other))
            first, second = versions.tallies
            comparison = Comparison(what, first, second, versions.pairs[0])
            figures["devices"] = first.whole.devices
            figures |= figures_of(first, labels)
            figures["compare"] = comparison_figures(comparison, labels_of(other) | labels)
        case Sweep(key=key, values=values):
            rows = sweep(fleet.scenario, key, values, fleet.run_whole)
            figures["sweep"] = sweep_figures(key, rows)
        case Find(key=key, success_rate=rate):
            figures["find"] = search_figures(find(fleet.scenario, key, rate, fleet.run_whole))
        case _:
            assert_never(question)
    return figures | {"seconds": round(time.perf_counter() - began, 3)}
