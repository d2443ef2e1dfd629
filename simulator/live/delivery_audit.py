"""Compares what the devices recorded with what the collector stored, report by report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
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


def compare(created: Iterable[ReportKey], stored: Iterable[ReportKey]) -> Delivery:
    """Compare the journals with the store."""
    made, kept = Counter(created), Counter(stored)
    return Delivery(
        created=made.total(),
        stored=kept.total(),
        lost=tuple(_numbers(made - kept)),
        stored_twice=tuple(_numbers(kept - made)),
    )


def _numbers(reports: Counter[ReportKey]) -> list[str]:
    return sorted(report.number for report in reports.elements())
