"""What is known of the makes of devices in a history: their hardware's pace and their people, by the scenario's populations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simulator.fit.history import Make
from simulator.scenario import Population, Scenario


@dataclass(frozen=True, slots=True)
class Kin:
    """What a make has in common with the scenario's populations. A report names no hardware class and no archetype."""

    hardware: str | None
    """The one hardware class of such devices; empty when the scenario has none for them, None when there are several."""
    log_pace: float
    """The mean of the logarithm of the pace."""
    log_pace_variance: float
    person: str | None
    """The one archetype of their people; None when there are several."""


def kin_of(scenario: Scenario, makes: Iterable[Make]) -> dict[Make, Kin]:
    """The kin of each make that the scenario has devices of; a model that it does not name is any of its type."""
    found = {}
    for make in makes:
        populations = _populations(scenario, make)
        if populations:
            found[make] = _kin(scenario, populations)
    return found


def _populations(scenario: Scenario, make: Make) -> list[Population]:
    alike = [
        p
        for p in scenario.population
        if p.type is make.enrollment_type and p.variant is make.variant and p.weight > 0
    ]
    named = [p for p in alike if p.model == make.model]
    return named or alike


def _kin(scenario: Scenario, populations: Iterable[Population]) -> Kin:
    classes: dict[str, float] = {}
    people = set()
    for population in populations:
        people.add(population.person)
        whole = sum(population.hardware.values())
        for name, weight in (population.hardware or {"": 1.0}).items():
            share = population.weight * weight / (whole or 1.0)
            classes[name] = classes.get(name, 0.0) + share
    return Kin(
        hardware=next(iter(classes)) if len(classes) == 1 else None,
        person=people.pop() if len(people) == 1 else None,
        **_log_pace(scenario, classes),
    )


def _log_pace(scenario: Scenario, classes: Mapping[str, float]) -> dict[str, float]:
    whole = sum(classes.values())
    logs = {name: math.log(scenario.hardware[name].pace) if name else 0.0 for name in classes}
    mean = sum(logs[name] * share for name, share in classes.items()) / whole
    square = sum((logs[name] - mean) ** 2 * share for name, share in classes.items()) / whole
    return {"log_pace": mean, "log_pace_variance": square}
