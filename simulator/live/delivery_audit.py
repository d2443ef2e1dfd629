"""Compares what the devices recorded with what the collector stored, report by report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReportKey:
    """Which report it is, and the fingerprint of its content."""

    device: str
    stream: str
    seq: int
    digest: str

    @property
    def number(self) -> str:
        """As a person would look it up."""
        return f"{self.device} stream {self.stream} number {self.seq}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the reports."""

    created: int
    stored: int
    lost: tuple[str, ...]
    """Created, and not stored with the same content."""
    stored_twice: tuple[str, ...]
    """Stored more often than created; a report that no journal knows is one too many as well."""
    on_the_way: int
    """Not stored yet, and its device has not been told otherwise: it would have sent it again."""
    forgotten: int
    """Stored once, and older than everything that its journal still holds: nothing is left to compare it with."""


def compare(
    created: Iterable[ReportKey],
    stored: Iterable[ReportKey],
    unacknowledged: AbstractSet[ReportKey] = frozenset(),
) -> Delivery:
    """Compare the journals with the store.

    `unacknowledged` are those that devices which were stopped on their way would still send.
    """
    made, kept = Counter(created), Counter(stored)
    missing, surplus = made - kept, kept - made
    lost = Counter({r: count for r, count in missing.items() if r not in unacknowledged})
    oldest = _oldest_held(made)
    forgotten = {r for r in surplus if r.seq < oldest.get((r.device, r.stream), 0)}
    surplus.subtract(forgotten)
    return Delivery(
        created=made.total(),
        stored=kept.total(),
        lost=tuple(_numbers(lost)),
        stored_twice=tuple(_numbers(surplus)),
        on_the_way=missing.total() - lost.total(),
        forgotten=len(forgotten),
    )


def _oldest_held(made: Iterable[ReportKey]) -> dict[tuple[str, str], int]:
    """A journal forgets the oldest first, so that what it holds has no gap before its end."""
    oldest: dict[tuple[str, str], int] = {}
    for report in made:
        stream = (report.device, report.stream)
        oldest[stream] = min(report.seq, oldest.get(stream, report.seq))
    return oldest


def _numbers(reports: Counter[ReportKey]) -> list[str]:
    return sorted(report.number for report in reports.elements())
