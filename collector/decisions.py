"""The stored decisions on attempts: the newest one counts, and each has a number that grows within the store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, insert, select
from sqlalchemy.schema import Table

from agent.wire.assignment import Admitted, Refused
from agent.wire.codec import JsonCodec
from collector.store import schema
from collector.store.records import Key

_DECISION: Final[JsonCodec[Admitted | Refused]] = JsonCodec(Admitted | Refused)


@dataclass(frozen=True, slots=True)
class Assigned:
    """A stored decision on one attempt."""

    version: int
    device: str
    attempt: str
    issued_ms: int
    decision: Admitted | Refused


def newest_decisions(connection: Connection, keys: Collection[Key]) -> dict[Key, Assigned]:
    """The newest decision on each of these attempts that has one."""
    if not keys:
        return {}
    table = schema.ASSIGNMENTS
    query = select(table).where(among(table, keys)).order_by(table.c.version)
    newest = {(row.device, row.attempt): row for row in connection.execute(query)}
    return {key: _assigned_of(newest[key]) for key in keys if key in newest}


def newest_decision(connection: Connection, key: Key) -> Assigned | None:
    """The newest decision on this attempt; None when there is none."""
    table = schema.ASSIGNMENTS
    query = (
        select(table)
        .where(table.c.device == key[0], table.c.attempt == key[1])
        .order_by(table.c.version.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else _assigned_of(row)


def _assigned_of(row: Row[Any]) -> Assigned:
    return Assigned(
        row.version, row.device, row.attempt, row.issued_ms, _DECISION.loads(row.decision)
    )


def store_decision(
    connection: Connection, key: Key, decision: Admitted | Refused, now_ms: int
) -> Assigned:
    """Store a decision under the next number."""
    made = connection.execute(
        insert(schema.ASSIGNMENTS).values(
            device=key[0],
            attempt=key[1],
            admitted=isinstance(decision, Admitted),
            issued_ms=now_ms,
            decision=_DECISION.dumps(decision).decode(),
        )
    )
    inserted = made.inserted_primary_key
    assert inserted is not None, "the database numbers assignments"
    return Assigned(int(inserted[0]), *key, now_ms, decision)


def among(table: Table, keys: Collection[Key]) -> ColumnElement[bool]:
    """The rows of these attempts, and perhaps of others whose device and attempt are each among theirs."""
    return table.c.device.in_({device for device, _ in keys}) & table.c.attempt.in_(
        {attempt for _, attempt in keys}
    )
