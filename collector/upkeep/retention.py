"""Lets go of old reports, whole attempts at a time; what every figure is made of, one row for each attempt, stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, insert, select

from collector.store import schema
from collector.store.database import Database

DAY_MS: Final = 86_400_000
KEEP_DAYS_MIN: Final = 31
"""The reports look back 30 days beside today."""
ATTEMPTS_AT_A_TIME: Final = 200
"""A transaction stays short, so that taking reports in never waits long for it."""
RUNS_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class Removed:
    """What one run let go, or would."""

    ended_before_ms: int
    attempts: int
    reports: int


class Retention:
    """Every method may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, keep_days: int, now_ms: int) -> Removed:
        """What a run would let go now."""
        before_ms = _before(keep_days, now_ms)
        events, attempts = schema.EVENTS, schema.ATTEMPTS
        old = attempts.c.ended_ms < before_ms
        query = (
            select(
                func.count(),
                func.count(func.distinct(attempts.c.device + " " + attempts.c.attempt)),
            )
            .select_from(events)
            .join(
                attempts,
                (attempts.c.device == events.c.device) & (attempts.c.attempt == events.c.attempt),
            )
            .where(old, attempts.c.end_state.is_not(None))
        )
        with self._database.reading() as connection:
            reports, found = connection.execute(query).one()
        return Removed(before_ms, found, reports)

    def run(self, keep_days: int, now_ms: int) -> Removed:
        """Let go the reports of all attempts that ended more than so many days ago, a few attempts a transaction."""
        before_ms = _before(keep_days, now_ms)
        attempts = reports = 0
        after = ("", "")
        while True:
            found, removed, after = self._some(before_ms, after)
            attempts, reports = attempts + found, reports + removed
            if after == ("", ""):
                break
        if reports:
            self._record(Removed(before_ms, attempts, reports), now_ms)
        return Removed(before_ms, attempts, reports)

    def _some(self, before_ms: int, after: tuple[str, str]) -> tuple[int, int, tuple[str, str]]:
        """A few attempts in the order of their names: how many had reports, how many reports, and the last name."""
        table, events = schema.ATTEMPTS, schema.EVENTS
        beyond = (table.c.device > after[0]) | (
            (table.c.device == after[0]) & (table.c.attempt > after[1])
        )
        query = (
            select(table.c.device, table.c.attempt)
            .where(table.c.end_state.is_not(None), table.c.ended_ms < before_ms, beyond)
            .order_by(table.c.device, table.c.attempt)
            .limit(ATTEMPTS_AT_A_TIME)
        )
        with self._database.writing() as connection:
            keys = connection.execute(query).all()
            attempts = reports = 0
            for device, attempt in keys:
                gone = connection.execute(
                    delete(events).where(events.c.device == device, events.c.attempt == attempt)
                ).rowcount
                attempts, reports = attempts + bool(gone), reports + gone
        full = len(keys) == ATTEMPTS_AT_A_TIME
        return attempts, reports, (keys[-1][0], keys[-1][1]) if full else ("", "")

    def _record(self, removed: Removed, now_ms: int) -> None:
        table = schema.REMOVALS
        with self._database.writing() as connection:
            connection.execute(
                insert(table).values(
                    at_ms=now_ms,
                    ended_before_ms=removed.ended_before_ms,
                    attempts=removed.attempts,
                    reports=removed.reports,
                )
            )
            newest = connection.execute(select(func.max(table.c.id))).scalar_one()
            connection.execute(delete(table).where(table.c.id <= newest - RUNS_KEPT))

    def runs(self) -> list[tuple[int, Removed]]:
        """The newest runs that let anything go, the newest first, each with its time (ms since 1970)."""
        table = schema.REMOVALS
        with self._database.reading() as connection:
            found = connection.execute(select(table).order_by(table.c.id.desc()))
            return [
                (row.at_ms, Removed(row.ended_before_ms, row.attempts, row.reports))
                for row in found
            ]


def _before(keep_days: int, now_ms: int) -> int:
    assert keep_days >= KEEP_DAYS_MIN, "the reports' own windows are never cut"
    return now_ms - keep_days * DAY_MS
