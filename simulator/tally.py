"""Counts what a fleet came to, in whole numbers, so that any division of the work adds up to the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from agent.wire.vocabulary import (
    SUCCESS_STATES,
    Choice,
    EndState,
    EnrollmentType,
    FailureKind,
    Phase,
    Variant,
)
from simulator.sums import Sums

BIN_MS: Final = 6_000
"""A tenth of a minute: how fine the histograms of times are."""
NO_VERDICT: Final = frozenset({EndState.RESET, EndState.SUPERSEDED})
"""Attempts that ended this way count for no rate: another attempt took their place."""
FAILURE_STATES: Final = frozenset(
    {EndState.FAILED, EndState.TIMED_OUT, EndState.ABANDONED, EndState.REFUSED}
)
TRACE_MODULUS: Final = 2**128


@dataclass(slots=True)
class TypeTally(Sums):
    """The devices of one enrollment type, or of one of its variants."""

    devices: int = 0
    succeeded: int = 0
    """Devices whose last attempt succeeded."""
    attempts: Counter[EndState] = field(default_factory=Counter)
    times: Counter[int] = field(default_factory=Counter)
    """Successful attempts by their time, in bins."""
    time_ms: int = 0
    """Of all successful attempts together."""
    time_ms_squared: int = 0
    """The squares of the same times."""
    opened: int = 0
    """Devices whose gate opened."""
    gate_times: Counter[int] = field(default_factory=Counter)
    """These devices by the time from power-on until it opened, in bins."""
    gate_ms: int = 0
    screen_ms: int = 0
    """In front of screens that waited for a person, all devices together."""
    error_screen_ms: int = 0
    reasons: Counter[FailureKind] = field(default_factory=Counter)
    """Attempts that failed, by what they failed of."""
    final_reasons: Counter[FailureKind] = field(default_factory=Counter)
    """Devices whose last attempt failed, by what it failed of."""

    def ended(self, end_state: EndState, attempt_ms: int, reason: FailureKind | None) -> None:
        """Count one attempt that ended."""
        self.attempts[end_state] += 1
        if end_state in SUCCESS_STATES:
            self.times[attempt_ms // BIN_MS] += 1
            self.time_ms += attempt_ms
            self.time_ms_squared += attempt_ms * attempt_ms
        elif end_state in FAILURE_STATES and reason is not None:
            self.reasons[reason] += 1

    def gate_opened(self, at_ms: int) -> None:
        """Count one device whose gate opened so long after power-on."""
        self.opened += 1
        self.gate_times[at_ms // BIN_MS] += 1
        self.gate_ms += at_ms

    @property
    def judged(self) -> int:
        """Attempts that ended with a verdict."""
        return sum(n for state, n in self.attempts.items() if state not in NO_VERDICT)

    @property
    def won(self) -> int:
        """Attempts that succeeded."""
        return sum(n for state, n in self.attempts.items() if state in SUCCESS_STATES)

    @property
    def success_rate(self) -> float | None:
        """Attempts that succeeded over all that ended with a verdict; None when none did."""
        return self.won / self.judged if self.judged else None


ItemKey = tuple[EnrollmentType, str]
"""A thing that a gate waited for, on devices of one type."""
Cause = tuple[str, FailureKind, str]
"""Item, kind and code of a failure; the item is empty where no item is to blame."""


@dataclass(slots=True)
class ItemTally(Sums):
    """What items did to the fleet."""

    on_path: Counter[ItemKey] = field(default_factory=Counter)
    """Devices on whose critical path a thing is."""
    last: Counter[ItemKey] = field(default_factory=Counter)
    """Devices by the thing that ended when the gate opened."""
    path_ms: Counter[ItemKey] = field(default_factory=Counter)
    alone_ms: Counter[ItemKey] = field(default_factory=Counter)
    """How long a thing was all that was under way, on devices whose gate opened."""
    failed_tries: Counter[Cause] = field(default_factory=Counter)
    given_up: Counter[Cause] = field(default_factory=Counter)
    """Items of an attempt that ended without being there."""
    ended_by: Counter[Cause] = field(default_factory=Counter)
    """Attempts that failed, by the failure that they ended with."""
    timeouts: Counter[Phase] = field(default_factory=Counter)
    """How often the time budget ended, by the phase that ran."""
    open_at_timeout: Counter[tuple[Phase, str]] = field(default_factory=Counter)
    """The items that were under way at that moment."""


@dataclass(slots=True)
class PeopleTally(Sums):
    """What people did and waited for."""

    shown: Counter[str] = field(default_factory=Counter)
    """How often each screen waited for a person."""
    screen_ms: Counter[str] = field(default_factory=Counter)
    abandoned: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Attempts that a person left, by the screen and by what they did there."""
    error_screens: int = 0
    error_screen_ms: int = 0
    choices: Counter[Choice] = field(default_factory=Counter)
    """What was chosen, on the error screen or while setup went on."""


Part = tuple[EnrollmentType, Variant]


@dataclass(slots=True)
class Tally:
    """A whole fleet, or a part of one."""

    parts: dict[Part, TypeTally] = field(default_factory=dict)
    items: ItemTally = field(default_factory=ItemTally)
    people: PeopleTally = field(default_factory=PeopleTally)
    events: int = 0
    trace: int = 0
    """The sum of the devices' trace hashes: in whatever order they are added, it is the same."""

    def of(self, enrollment_type: EnrollmentType) -> TypeTally:
        """A whole type: its variants together."""
        return sum_of(t for (kind, _), t in self.parts.items() if kind is enrollment_type)

    def of_variant(self, enrollment_type: EnrollmentType, variant: Variant) -> TypeTally:
        """The tally of one variant of a type, to count in."""
        part = (enrollment_type, variant)
        if part not in self.parts:
            self.parts[part] = TypeTally()
        return self.parts[part]

    @property
    def types(self) -> tuple[EnrollmentType, ...]:
        """The types that occur, in their usual order."""
        found = {kind for kind, _ in self.parts}
        return tuple(kind for kind in EnrollmentType if kind in found)

    @property
    def whole(self) -> TypeTally:
        """All devices together."""
        return sum_of(self.parts.values())

    def add(self, other: Tally) -> None:
        """Take in another part of the same fleet."""
        for part, tally in other.parts.items():
            self.of_variant(*part).add(tally)
        self.items.add(other.items)
        self.people.add(other.people)
        self.events += other.events
        self.trace = (self.trace + other.trace) % TRACE_MODULUS

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON has it, for another process to add: the same bytes for the same tally."""
        return {
            "parts": [[*part, self.parts[part].to_json()] for part in sorted(self.parts)],
            "items": self.items.to_json(),
            "people": self.people.to_json(),
            "events": self.events,
            "trace": f"{self.trace:032x}",
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The tally that `to_json` wrote.

        Raises:
            ValueError: something is missing, or is not what `to_json` writes.
        """
        try:
            rows: Sequence[tuple[str, str, Mapping[str, Any]]] = data["parts"]
            return cls(
                parts={
                    (EnrollmentType(kind), Variant(variant)): TypeTally.from_json(part)
                    for kind, variant, part in rows
                },
                items=ItemTally.from_json(data["items"]),
                people=PeopleTally.from_json(data["people"]),
                events=int(data["events"]),
                trace=int(data["trace"], 16),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"tally: {error!r}") from None


def sum_of(parts: Iterable[TypeTally]) -> TypeTally:
    """Several parts as one."""
    whole = TypeTally()
    for part in parts:
        whole.add(part)
    return whole
