"""Lets go of old reports with all that was said about their attempts; what figures are made of, one row an attempt, stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Exists,
    Table,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
)

from collector.store import schema
from collector.store.database import Database
from collector.store.numbering import before_removal

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
        self._let_go_of_traces(before_ms)
        if reports:
            self._record(Removed(before_ms, attempts, reports), now_ms)
        return Removed(before_ms, attempts, reports)

    def _some(self, before_ms: int, after: tuple[str, str]) -> tuple[int, int, tuple[str, str]]:
        """A few attempts in the order of their names: how many had reports, how many reports, and the last name.

        They are looked for before the transaction that removes, so that nobody waits for the search.
        """
        table, events = schema.ATTEMPTS, schema.EVENTS
        beyond = (table.c.device > after[0]) | (
            (table.c.device == after[0]) & (table.c.attempt > after[1])
        )
        query = (
            select(table.c.device, table.c.attempt)
            .where(table.c.end_state.is_not(None), table.c.ended_ms < before_ms, beyond)
            .where(_has_something())
            .order_by(table.c.device, table.c.attempt)
            .limit(ATTEMPTS_AT_A_TIME)
        )
        with self._database.reading() as connection:
            keys = connection.execute(query).all()
        if not keys:
            return 0, 0, ("", "")
        attempts = reports = 0
        with self._database.writing() as connection:
            before_removal(connection)
            for device, attempt in keys:
                gone = connection.execute(
                    delete(events).where(events.c.device == device, events.c.attempt == attempt)
                ).rowcount
                attempts, reports = attempts + bool(gone), reports + gone
                _forget_what_was_said(connection, device, attempt)
        full = len(keys) == ATTEMPTS_AT_A_TIME
        return attempts, reports, (keys[-1][0], keys[-1][1]) if full else ("", "")

    def _let_go_of_traces(self, before_ms: int) -> None:
        """What is kept to be looked at, and holds names of devices and users: refused payloads, undelivered messages."""
        refused, queue = schema.SET_ASIDE, schema.WEBHOOK_QUEUE
        with self._database.writing() as connection:
            connection.execute(delete(refused).where(refused.c.received_ms < before_ms))
            connection.execute(delete(queue).where(queue.c.given_up_ms < before_ms))

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


def _has_something() -> ColumnElement[bool]:
    """Whether an attempt still has what retention lets go."""
    table = schema.ATTEMPTS

    def of_it(other: Table) -> Exists:
        return exists().where(other.c.device == table.c.device, other.c.attempt == table.c.attempt)

    commands = schema.COMMANDS
    return or_(
        of_it(schema.EVENTS), of_it(schema.ASSIGNMENTS), of_it(commands).where(commands.c.cleared)
    )


def _forget_what_was_said(connection: Connection, device: str, attempt: str) -> None:
    """Decisions and commands of an ended attempt; a command stays while the broker may still have it."""
    decisions, commands = schema.ASSIGNMENTS, schema.COMMANDS
    connection.execute(
        delete(decisions).where(decisions.c.device == device, decisions.c.attempt == attempt)
    )
    connection.execute(
        delete(commands)
        .where(commands.c.device == device, commands.c.attempt == attempt)
        .where(commands.c.cleared)
    )


def _before(keep_days: int, now_ms: int) -> int:
    assert keep_days >= KEEP_DAYS_MIN, "the reports' own windows are never cut"
    return now_ms - keep_days * DAY_MS
