"""Looks for the value of a key that serves people best: a table of several values, or the smallest that is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from simulator.comparison import OF_FLEETS, points
from simulator.figures import type_figures
from simulator.overrides import overridden
from simulator.paired import mean_difference, rate_difference
from simulator.scenario import Scenario
from simulator.tally import Tally
from simulator.versions import Pairs, Versions

FINDABLE: Final = {"timeout": (1, 1440)}
"""Keys of which a greater value lets more enrollments succeed, with the values that they may have."""

RunVersions = Callable[[Sequence[Scenario]], Versions]
"""Enrolls the same devices under each of these scenarios."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a key, and what it came to."""

    value: Any
    tally: Tally
    beside_previous: Pairs | None = None
    """The devices beside those of the row before; None in the first."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for the smallest value came to."""

    key: str
    wanted: float
    """The success rate that was asked for."""
    found: int | None
    """None when no possible value reaches it."""
    rows: tuple[Row, ...]
    """Every value that was tried, the smallest first."""


def versions_of(scenario: Scenario, key: str, values: Sequence[Any]) -> list[Scenario]:
    """The scenario with each of these values.

    Raises:
        OverrideRefused: a value is not possible.
    """
    return [overridden(scenario, [(key, value)], f"{key}={value}") for value in values]


def sweep(scenario: Scenario, key: str, values: Sequence[Any], run: RunVersions) -> list[Row]:
    """One run of the fleet for each value.

    Raises:
        OverrideRefused: a value is not possible.
    """
    versions = run(versions_of(scenario, key, values))
    beside: list[Pairs | None] = [None, *versions.pairs]
    return [Row(*entry) for entry in zip(values, versions.tallies, beside, strict=True)]


def find(scenario: Scenario, key: str, wanted: float, run: RunVersions) -> Search:
    """The smallest value whose success rate on these devices is `wanted` at least, by halving.

    Halving takes for granted that a greater value never lets fewer enrollments succeed. What is found is checked all
    the same: it reaches the rate, and the value below it does not.
    """
    low, high = FINDABLE[key]
    tried: dict[int, Tally] = {}

    def reaches(value: int) -> bool:
        tried[value] = run(versions_of(scenario, key, [value])).tallies[0]
        return (tried[value].whole.success_rate or 0) >= wanted

    found = None
    if reaches(high):
        found = high
        while low < found:
            middle = (low + found) // 2
            if reaches(middle):
                found = middle
            else:
                low = middle + 1
    return Search(key, wanted, found, tuple(Row(v, tried[v]) for v in sorted(tried)))


# --- figures ------------------------------------------------------------------------------------


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
    listed = " and ".join(f"from {before} to {after}" for before, after in found)
    return (
        f"Of the steps of {key}, the one{'s' if len(found) > 1 else ''} {listed} make"
        f"{'' if len(found) > 1 else 's'} a difference in success."
    )


def search_sentence(search: Search) -> str:
    """What was found, or that nothing was."""
    if search.found is None:
        best = search.rows[-1]
        rate = best.tally.whole.success_rate
        reached = "no figure" if rate is None else f"{rate:.2%}"
        return (
            f"No {search.key} reaches {search.wanted:.2%}: even {best.value} comes to {reached}. What fails there "
            f"fails of something else."
        )
    row = next(r for r in search.rows if r.value == search.found)
    figures = type_figures(row.tally.whole)
    low, high = figures["success_rate_interval"]
    sentence = (
        f"The smallest {search.key} that reaches {search.wanted:.2%} is {search.found}: there the rate is "
        f"{figures['success_rate']:.2%} (of other fleets {low:.2%} to {high:.2%})."
    )
    below = next((r for r in search.rows if r.value == search.found - 1), None)
    if below is not None:
        sentence += f" With {below.value} it is {below.tally.whole.success_rate:.2%}."
    return sentence


def search_figures(search: Search) -> dict[str, Any]:
    """The search for programs."""
    return {
        "key": search.key,
        "wanted": search.wanted,
        "found": search.found,
        "sentence": search_sentence(search),
        "tried": [row_figures(row) for row in search.rows],
    }


def sweep_figures(key: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The sweep for programs."""
    return {
        "key": key,
        "sentence": sweep_sentence(key, rows),
        "values": [row_figures(row) for row in rows],
    }
