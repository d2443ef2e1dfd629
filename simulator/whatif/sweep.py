"""What several values of one key come to: a row for each, beside the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from simulator.scenario import Scenario
from simulator.tally import Tally
from simulator.whatif.comparison import OF_FLEETS, points
from simulator.whatif.figures import type_figures
from simulator.whatif.overrides import overridden
from simulator.whatif.paired import mean_difference, rate_difference
from simulator.whatif.versions import Pairs, Versions


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a key, and what it came to."""

    value: Any
    tally: Tally
    beside_previous: Pairs | None = None
    """The devices beside those of the row before; None in the first."""


def versions_of(scenario: Scenario, key: str, values: Sequence[Any]) -> list[Scenario]:
    """The scenario with each of these values.

    Raises:
        OverrideRefused: a value is not possible.
    """
    return [overridden(scenario, [(key, value)], f"{key}={value}") for value in values]


def rows_of(values: Sequence[Any], versions: Versions) -> list[Row]:
    """A row for each value, beside the one before."""
    beside: list[Pairs | None] = [None, *versions.pairs]
    return [Row(*entry) for entry in zip(values, versions.tallies, beside, strict=True)]


def row_figures(row: Row) -> dict[str, Any]:
    """One row for programs."""
    whole = type_figures(row.tally.whole)
    kept = ("succeeded", "success_rate", "success_rate_interval", "minutes", "minutes_interval")
    figures = {"value": row.value, **{name: whole[name] for name in kept}}
    figures["gate_minutes"] = whole["gate"]["minutes"]
    figures["timeouts"] = row.tally.items.timeouts.total()
    figures["trace"] = f"{row.tally.trace:032x}"
    if row.beside_previous is not None:
        figures["beside_previous"] = _step_figures(row.beside_previous)
    return figures


def _step_figures(pairs: Pairs) -> dict[str, Any]:
    whole = pairs.whole
    rate, time = rate_difference(whole), mean_difference(whole.time)
    return {
        "gained": whole.second_only,
        "lost": whole.first_only,
        "succeeded": None
        if rate is None
        else {
            "estimate": round(rate.estimate, 6),
            "interval": [round(bound, 6) for bound in rate.interval],
            "found": rate.is_found,
        },
        "minutes": None
        if time is None
        else {
            "estimate": round(time.estimate / 60_000, 4),
            "interval": [round(bound / 60_000, 4) for bound in time.interval],
            "found": time.is_found,
        },
    }


def sweep_sentence(key: str, rows: Sequence[Row]) -> str:
    """What the table says."""
    steps = [rate_difference(r.beside_previous.whole) for r in rows[1:] if r.beside_previous]
    found = [
        (before.value, after.value)
        for (before, after), step in zip(pairwise(rows), steps, strict=True)
        if step is not None and step.is_found
    ]
    if None in steps:
        return (
            f"The devices are at so few places, or of so few people, that the steps of {key} can't be told from chance. "
            f"Ask again with more devices."
        )
    if not found:
        detectable = max(step.detectable for step in steps if step is not None)
        return (
            f"Between no two neighbouring values of {key} was a difference in success found; one of "
            f"{points(detectable)} or more would have been found in {OF_FLEETS}."
        )
    listed = ", ".join(f"from {before} to {after}" for before, after in found)
    if len(found) == len(steps):
        return f"Every step of {key} makes a difference in success: {listed}."
    which = "one makes" if len(found) == 1 else f"{len(found)} make"
    return f"Of the {len(steps)} steps of {key}, {which} a difference in success: {listed}."


def sweep_figures(key: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The sweep for programs."""
    return {
        "key": key,
        "sentence": sweep_sentence(key, rows),
        "values": [row_figures(row) for row in rows],
    }
