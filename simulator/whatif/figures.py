"""Makes the figures of a what-if, as people and programs read them, from what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.core.flows import BUILT_IN_STEPS
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind, Phase, Variant
from simulator.gate_wait import WAIT_NAMES
from simulator.scenario import Scenario
from simulator.tally import BIN_MS, Cause, ItemTally, PeopleTally, Tally, TypeTally
from simulator.whatif.intervals import mean_interval, rate_interval

MINUTE_MS: Final = 60_000
PERCENTILES: Final = (50, 90, 99)
HISTOGRAM_BARS_MAX: Final = 40
"""More bars than a chart can show apart."""
_WIDTHS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 300, 600, 1200, 3000, 6000)
"""Widths of a bar, in bins: 0.1 minutes to 10 hours."""


@dataclass(frozen=True, slots=True)
class Label:
    """What people call a thing that the gate may wait for."""

    name: str
    kind: str
    """`app`, `policy`, `certificate`, `network`, `step`, `screen`, or `wait` for what is no item."""


Labels = Mapping[str, Label]


def labels_of(scenario: Scenario) -> dict[str, Label]:
    """Every thing that a gate can wait for in this scenario, by id."""
    labels = {item.id: Label(item.name, kind.value) for kind, item in scenario.catalogue()}
    for step in BUILT_IN_STEPS.values():
        labels[step.id] = Label(step.name, "screen" if step.id in PERSON_SCREENS else "step")
    return labels | {key: Label(name, "wait") for key, name in WAIT_NAMES.items()}


def figures_of(tally: Tally, labels: Labels) -> dict[str, Any]:
    """All figures of a fleet. Times are in minutes, shares and rates between 0 and 1."""
    by_type = {kind.value: tally.of(kind) for kind in tally.types}
    return {
        "by_type": {name: type_figures(part) for name, part in by_type.items()},
        "by_variant": {
            kind.value: {
                variant.value: type_figures(tally.parts[kind, variant])
                for variant in Variant
                if (kind, variant) in tally.parts
            }
            for kind in tally.types
        },
        "whole": type_figures(tally.whole),
        "critical_path": critical_path(tally, labels),
        "critical_path_by_type": {
            kind.value: critical_path(tally, labels, kind) for kind in tally.types
        },
        "failures": _failures(tally.items, labels),
        "timeouts": _timeouts(tally.items, labels),
        "people": _people(tally.people, labels),
        "events": tally.events,
        "trace": f"{tally.trace:032x}",
    }


# --- one type -----------------------------------------------------------------------------------


def type_figures(part: TypeTally) -> dict[str, Any]:
    """The figures of one type, of one of its variants, or of a whole fleet."""
    interval = rate_interval(part.won, part.judged)
    return {
        "devices": part.devices,
        "succeeded": part.succeeded,
        "success_rate": _rounded(part.success_rate, 6),
        "success_rate_interval": [_rounded(bound, 6) for bound in interval] if interval else None,
        "minutes": distribution(part.times, part.time_ms),
        "minutes_interval": _mean_interval(part),
        "end_states": {s.value: part.attempts[s] for s in EndState if part.attempts[s]},
        "histogram": histogram(part.times),
        "gate": {
            "devices": part.opened,
            "minutes": distribution(part.gate_times, part.gate_ms),
            "histogram": histogram(part.gate_times),
        },
        "waiting": {
            "screen_minutes": _minutes_each(part.screen_ms, part.devices),
            "error_screen_minutes": _minutes_each(part.error_screen_ms, part.devices),
        },
        "reasons": _reasons(part.reasons),
        "final_reasons": _reasons(part.final_reasons),
    }


def distribution(times: Counter[int], total_ms: int) -> dict[str, float | None]:
    """Mean and percentiles in minutes; a percentile is the upper edge of the bin in which it lies."""
    count = times.total()
    return {
        "mean": _minutes_each(total_ms, count),
        **{f"p{percent}": percentile(times, percent) for percent in PERCENTILES},
    }


def percentile(times: Counter[int], percent: int) -> float | None:
    """The upper edge of the bin in which this percentile lies, in minutes; None without any time."""
    wanted = times.total() * percent / 100
    seen = 0
    for time_bin in sorted(times):
        seen += times[time_bin]
        if seen >= wanted:
            return round((time_bin + 1) * BIN_MS / MINUTE_MS, 3)
    return None


def histogram(times: Counter[int]) -> dict[str, Any]:
    """Times in bars of equal width; `longer` counts those beyond the bar in which the 99th percentile lies.

    `counts[i]` counts the times from `i * bar_minutes` up to, but not including, the next bar.
    """
    edge = percentile(times, 99)
    edge_bin = 0 if edge is None else round(edge * MINUTE_MS / BIN_MS)
    width = next((w for w in _WIDTHS if edge_bin <= w * HISTOGRAM_BARS_MAX), _WIDTHS[-1])
    counts = [0] * -(-edge_bin // width)
    longer = 0
    for time_bin, count in times.items():
        if time_bin // width < len(counts):
            counts[time_bin // width] += count
        else:
            longer += count
    return {"bar_minutes": width * BIN_MS / MINUTE_MS, "counts": counts, "longer": longer}


def _mean_interval(part: TypeTally) -> list[float] | None:
    interval = mean_interval(part.times.total(), part.time_ms, part.time_ms_squared)
    return [round(bound / MINUTE_MS, 3) for bound in interval] if interval else None


def _reasons(reasons: Counter[FailureKind]) -> dict[str, int]:
    """By the texts of the status page, the most frequent first."""
    ranked = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0].label))
    return {kind.label: count for kind, count in ranked if count}


# --- items --------------------------------------------------------------------------------------


def critical_path(
    tally: Tally, labels: Labels, only: EnrollmentType | None = None
) -> list[dict[str, Any]]:
    """What the gate waited for, on devices of all types or of one; most time lost first."""
    kinds = tally.types if only is None else (only,)
    opened = sum(tally.of(kind).opened for kind in kinds)
    items = tally.items
    keys = {key for kind, key in items.on_path | items.last if kind in kinds}

    def total(counter: Counter[tuple[EnrollmentType, str]], key: str) -> int:
        return sum(counter[kind, key] for kind in kinds)

    entries = [
        {
            "item": key,
            "name": _name(labels, key),
            "kind": _kind(labels, key),
            "devices": total(items.on_path, key),
            "share": round(total(items.on_path, key) / opened, 6),
            "last": total(items.last, key),
            "minutes_on_path": _minutes_each(total(items.path_ms, key), opened),
            "minutes_lost": _minutes_each(total(items.alone_ms, key), opened),
        }
        for key in keys
    ]
    return sorted(entries, key=lambda e: (-e["minutes_lost"], -e["devices"], e["item"]))


def _failures(items: ItemTally, labels: Labels) -> list[dict[str, Any]]:
    """What failed, by item, kind and code: what ended most attempts first."""
    causes: set[Cause] = {*items.failed_tries, *items.given_up, *items.ended_by}
    entries = [
        {
            "item": item,
            "name": _name(labels, item),
            "kind": kind.value,
            "reason": kind.label,
            "code": code,
            "failed_tries": items.failed_tries[item, kind, code],
            "given_up": items.given_up[item, kind, code],
            "attempts_ended": items.ended_by[item, kind, code],
        }
        for item, kind, code in causes
    ]

    def rank(entry: dict[str, Any]) -> tuple[Any, ...]:
        numbers = (entry["attempts_ended"], entry["given_up"], entry["failed_tries"])
        return (*(-n for n in numbers), entry["item"], entry["kind"], entry["code"])

    return sorted(entries, key=rank)


def _timeouts(items: ItemTally, labels: Labels) -> list[dict[str, Any]]:
    """How often the time budget ended, by phase, with the items that were still under way."""
    return [
        {
            "phase": phase.value,
            "times": items.timeouts[phase],
            "open": [
                {"item": item, "name": _name(labels, item), "times": count}
                for item, count in _ranked(
                    {i: n for (p, i), n in items.open_at_timeout.items() if p is phase}
                )
            ],
        }
        for phase in Phase
        if items.timeouts[phase]
    ]


# --- people -------------------------------------------------------------------------------------


def _people(people: PeopleTally, labels: Labels) -> dict[str, Any]:
    return {
        "screens": [
            {
                "screen": screen,
                "name": _name(labels, screen),
                "shown": count,
                "minutes": _minutes_each(people.screen_ms[screen], count),
            }
            for screen, count in _ranked(people.shown)
        ],
        "abandoned": [
            {
                "screen": screen,
                "name": _name(labels, screen),
                "user_action": action,
                "attempts": people.abandoned[screen, action],
            }
            for screen, action in sorted(
                people.abandoned, key=lambda key: (-people.abandoned[key], key)
            )
        ],
        "error_screen": {
            "shown": people.error_screens,
            "minutes": _minutes_each(people.error_screen_ms, people.error_screens),
            "choices": {choice.label: count for choice, count in _ranked(people.choices)},
        },
    }


def _ranked(numbers: Mapping[Any, int]) -> Iterator[tuple[Any, int]]:
    """The greatest first, equal ones by their names."""
    for key, number in sorted(numbers.items(), key=lambda entry: (-entry[1], entry[0])):
        if number:
            yield key, number


def _name(labels: Labels, key: str) -> str:
    return labels[key].name if key in labels else key


def _kind(labels: Labels, key: str) -> str:
    return labels[key].kind if key in labels else "item"


def _minutes_each(total_ms: int, count: int) -> float | None:
    return round(total_ms / count / MINUTE_MS, 3) if count else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
