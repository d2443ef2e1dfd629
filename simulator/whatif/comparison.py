"""Says in plain language, and in figures, what a change of a scenario does to the same devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from agent.wire.vocabulary import EnrollmentType, FailureKind
from simulator.tally import Tally
from simulator.whatif.figures import MINUTE_MS, Labels, critical_path, figures_of
from simulator.whatif.intervals import LEVEL
from simulator.whatif.paired import (
    Difference,
    PairTally,
    mean_difference,
    rate_difference,
)
from simulator.whatif.versions import Pairs

PER: Final = 10_000
"""Changes of a rate are told for so many enrollments."""
OF_FLEETS: Final = "19 of 20 fleets like this"
"""How often what is called detectable is found, in words."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions of a scenario on the same devices."""

    what: str
    """What makes the second version, as the beginning of a sentence: `raising timeout from 60 to 90`."""
    first: Tally
    second: Tally
    pairs: Pairs


def comparison_figures(comparison: Comparison, labels: Labels) -> dict[str, Any]:
    """The comparison for programs: rates as shares, times in minutes, second less first."""
    by_type = comparison.pairs.by_type
    # Looking at every type asks several questions at once; together they err as seldom as one.
    level = 1 - (1 - LEVEL) / max(1, len(by_type))
    return {
        "change": comparison.what,
        "verdict": verdict(comparison, labels),
        "level": LEVEL,
        **_pair_figures(comparison.pairs.whole, LEVEL),
        "by_type_level": round(level, 6),
        "by_type": {
            kind.value: _pair_figures(by_type[kind], level)
            for kind in EnrollmentType
            if kind in by_type
        },
        "other": figures_of(comparison.second, labels),
    }


def _pair_figures(pairs: PairTally, level: float) -> dict[str, Any]:
    return {
        "devices": pairs.devices,
        "other_kind": pairs.other_kind,
        "succeeded": {
            "both": pairs.time.count,
            "first_only": pairs.first_only,
            "second_only": pairs.second_only,
            "difference": _figures(rate_difference(pairs, level), 1.0, 6),
        },
        "gained": _reasons(pairs.gained),
        "lost": _reasons(pairs.lost),
        "minutes": {
            "devices": pairs.time.count,
            "moved": pairs.time.moved,
            "difference": _figures(mean_difference(pairs.time, level), MINUTE_MS, 4),
        },
        "gate_minutes": {
            "devices": pairs.gate.count,
            "moved": pairs.gate.moved,
            "difference": _figures(mean_difference(pairs.gate, level), MINUTE_MS, 4),
        },
    }


def _figures(difference: Difference | None, unit: float, digits: int) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {
        "estimate": round(difference.estimate / unit, digits),
        "interval": [round(bound / unit, digits) for bound in difference.interval],
        "found": difference.is_found,
        "detectable": round(difference.detectable / unit, digits),
    }


def _reasons(reasons: Counter[FailureKind]) -> dict[str, int]:
    ranked = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0].label))
    return {kind.label: count for kind, count in ranked}


# --- in words -----------------------------------------------------------------------------------


def verdict(comparison: Comparison, labels: Labels) -> list[str]:
    """What came of the change, in sentences."""
    return [*_sentences(comparison, labels)]


def _sentences(comparison: Comparison, labels: Labels) -> Iterator[str]:
    pairs = comparison.pairs.whole
    rate = rate_difference(pairs)
    if rate is None:
        yield (
            f"{_devices(pairs.devices)} at so few places and of so few people do not tell the change from chance: "
            f"{_swaps(pairs)}. Ask again with more devices."
        )
    else:
        yield rate_sentence(comparison.what, pairs, rate)
    time = mean_difference(pairs.time)
    if time is not None:
        yield _time_sentence(pairs, time)
    yield from _cause_sentences(pairs)
    yield from _path_sentence(comparison.second, labels)
    if pairs.other_kind:
        yield (
            f"{pairs.other_kind:,} of the {pairs.devices:,} devices are of another type or variant in the second "
            f"scenario: what is compared there is the fleet, not the same device."
        )


def rate_sentence(what: str, pairs: PairTally, rate: Difference) -> str:
    """Whether more or fewer devices get through."""
    opening = what[0].upper() + what[1:]
    if pairs.first_only == pairs.second_only == 0:
        return (
            f"{opening}: not one of {pairs.devices:,} devices ended differently; a difference of "
            f"{points(rate.detectable)} or more would have been found in {OF_FLEETS}."
        )
    swaps = f"{_devices(pairs.second_only)} went from failure to success and {pairs.first_only:,} from success to failure"
    if not rate.is_found:
        return (
            f"{opening}: no difference in success was found: {swaps}. A difference of {points(rate.detectable)} or "
            f"more would have been found in {OF_FLEETS}."
        )
    word = "saves" if rate.estimate > 0 else "costs"
    low, high = rate.interval
    return f"{opening} {word} {abs(rate.estimate) * PER:,.0f} ± {(high - low) / 2 * PER:,.0f} of {PER:,} enrollments: {swaps}."


def _swaps(pairs: PairTally) -> str:
    return f"{_devices(pairs.second_only)} went from failure to success and {pairs.first_only:,} from success to failure"


def _time_sentence(pairs: PairTally, time: Difference) -> str:
    if pairs.time.moved == 0:
        return f"Each of the {pairs.time.count:,} devices that succeed both times takes as long as before."
    if not time.is_found:
        return (
            f"No difference in time was found among the {pairs.time.count:,} devices that succeed both times; a mean "
            f"difference of {_duration(time.detectable)} or more would have been found in {OF_FLEETS}."
        )
    word = "longer" if time.estimate > 0 else "less"
    low, high = time.interval
    return (
        f"Devices that succeed both times take {_duration(abs(time.estimate))} ± {_duration((high - low) / 2)} {word} "
        f"on average; {pairs.time.moved:,} of {pairs.time.count:,} take another time than before."
    )


def _cause_sentences(pairs: PairTally) -> Iterator[str]:
    if pairs.gained:
        yield f"What no longer fails: {_listed(pairs.gained)}."
    if pairs.lost:
        yield f"What fails now: {_listed(pairs.lost)}."


def _path_sentence(tally: Tally, labels: Labels) -> Iterator[str]:
    """The assigned item that costs most time, on the type where it is on most critical paths."""
    assigned = [e for e in critical_path(tally, labels) if e["kind"] not in ("step", "wait")]
    if not assigned or not assigned[0]["devices"]:
        return
    name, item = assigned[0]["name"], assigned[0]["item"]
    shares = {
        kind: tally.items.on_path[kind, item] / (tally.of(kind).opened or 1) for kind in tally.types
    }
    kind = max(shares, key=lambda k: (shares[k], k))
    yield (
        f"{name} is on the critical path of {shares[kind]:.0%} of the {kind.label} devices and holds a gate for "
        f"{assigned[0]['minutes_lost']:.1f} minutes on average over all devices."
    )


def _listed(reasons: Counter[FailureKind]) -> str:
    return ", ".join(f"{label} ({count:,})" for label, count in _reasons(reasons).items())


def _devices(count: int) -> str:
    return f"{count:,} device" if count == 1 else f"{count:,} devices"


def points(share: float) -> str:
    """A difference of rates in percentage points."""
    points = share * 100
    return f"{points:.2f} points" if points < 1 else f"{points:.1f} points"


def _duration(time_ms: float) -> str:
    seconds = time_ms / 1000
    return f"{seconds:.1f} seconds" if seconds < 90 else f"{seconds / 60:.1f} minutes"
