"""Counts what a fleet came to, in whole numbers, so that any division of the work adds up to the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.wire.vocabulary import SUCCESS_STATES, EndState, EnrollmentType, Variant

BIN_MS: Final = 6_000
"""A tenth of a minute: how fine the histogram of times is."""
NO_VERDICT: Final = frozenset({EndState.RESET, EndState.SUPERSEDED})
"""Attempts that ended this way count for no rate: another attempt took their place."""


@dataclass(slots=True)
class TypeTally:
    """The devices of one enrollment type, or of one of its variants."""

    devices: int = 0
    succeeded: int = 0
    """Devices whose last attempt succeeded."""
    attempts: Counter[EndState] = field(default_factory=Counter)
    times: Counter[int] = field(default_factory=Counter)
    """Successful attempts by their time, in bins."""
    time_ms: int = 0

    def ended(self, end_state: EndState, attempt_ms: int) -> None:
        """Count one attempt that ended."""
        self.attempts[end_state] += 1
        if end_state in SUCCESS_STATES:
            self.times[attempt_ms // BIN_MS] += 1
            self.time_ms += attempt_ms

    def add(self, other: TypeTally) -> None:
        """Take in another part of the same fleet."""
        self.devices += other.devices
        self.succeeded += other.succeeded
        self.attempts.update(other.attempts)
        self.times.update(other.times)
        self.time_ms += other.time_ms

    @property
    def success_rate(self) -> float | None:
        """Attempts that succeeded over all that ended with a verdict; None when none did."""
        judged = sum(n for state, n in self.attempts.items() if state not in NO_VERDICT)
        won = sum(n for state, n in self.attempts.items() if state in SUCCESS_STATES)
        return won / judged if judged else None

    def as_json(self) -> dict[str, Any]:
        """The figures; times in minutes."""
        rate = self.success_rate
        return {
            "devices": self.devices,
            "succeeded": self.succeeded,
            "success_rate": None if rate is None else round(rate, 6),
            "minutes": self._minutes(),
            "end_states": {s.value: self.attempts[s] for s in EndState if self.attempts[s]},
        }

    def _minutes(self) -> dict[str, float | None]:
        count = self.times.total()
        mean = round(self.time_ms / count / 60_000, 3) if count else None
        return {"mean": mean, **{f"p{p}": _percentile(self.times, p) for p in (50, 90, 99)}}


@dataclass(slots=True)
class Tally:
    """A whole fleet, or a part of one."""

    types: dict[EnrollmentType, TypeTally] = field(default_factory=dict)
    variants: dict[tuple[EnrollmentType, Variant], TypeTally] = field(default_factory=dict)
    """The same devices once more."""
    critical: Counter[str] = field(default_factory=Counter)
    """Devices by the item that was the last to hold their gate."""
    events: int = 0
    trace: int = 0
    """The sum of the devices' trace hashes: in whatever order they are added, it is the same."""

    def of(self, enrollment_type: EnrollmentType) -> TypeTally:
        """The tally of one type."""
        return self.types.setdefault(enrollment_type, TypeTally())

    def of_variant(self, enrollment_type: EnrollmentType, variant: Variant) -> TypeTally:
        """The tally of one variant of a type."""
        return self.variants.setdefault((enrollment_type, variant), TypeTally())

    def add(self, other: Tally) -> None:
        """Take in another part of the same fleet."""
        for enrollment_type, tally in other.types.items():
            self.of(enrollment_type).add(tally)
        for (enrollment_type, variant), tally in other.variants.items():
            self.of_variant(enrollment_type, variant).add(tally)
        self.critical.update(other.critical)
        self.events += other.events
        self.trace = (self.trace + other.trace) % 2**128

    def as_json(self, names: Mapping[str, str]) -> dict[str, Any]:
        """The figures by type, and the critical path; `names` has the items' names by id."""
        opened = self.critical.total()
        ranked = sorted(self.critical.items(), key=lambda entry: (-entry[1], entry[0]))
        return {
            "by_type": {
                t.value: self.types[t].as_json() for t in EnrollmentType if t in self.types
            },
            "by_variant": {
                t.value: {
                    v.value: self.variants[t, v].as_json()
                    for v in Variant
                    if (t, v) in self.variants
                }
                for t in EnrollmentType
                if t in self.types
            },
            "critical_path": [
                {
                    "item": item,
                    "name": names.get(item, item),
                    "devices": count,
                    "share": round(count / opened, 6),
                }
                for item, count in ranked
            ],
            "events": self.events,
            "trace": f"{self.trace:032x}",
        }


def _percentile(times: Counter[int], percent: int) -> float | None:
    """The upper edge of the bin in which this percentile lies, in minutes."""
    wanted = times.total() * percent / 100
    seen = 0
    for time_bin in sorted(times):
        seen += times[time_bin]
        if seen >= wanted:
            return round((time_bin + 1) * BIN_MS / 60_000, 3)
    return None
