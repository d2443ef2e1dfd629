"""The numbers of stored reports: each is given once, and whoever follows them knows up to where nothing is under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, func, select, text

from collector.store import schema
from collector.store.database import upsert

GIVEN: Final = "given"
"""The row of `positions` that says how far numbers were given in a SQLite store that let reports go."""

_KEY_BITS: Final = 48
"""The lower part of an advisory lock's key is a number of a report; the upper part says that the lock is one of these."""
_PURPOSE: Final = 0x4553

_LAST: Final = "CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
_GIVEN_OUT: Final = text(f"SELECT {_LAST} FROM events_id_seq")  # noqa: S608
_BEGIN: Final = text(
    f"SELECT pg_advisory_xact_lock_shared((CAST(:purpose AS bigint) << :bits) | ({_LAST}))"  # noqa: S608
    " FROM events_id_seq"
)
_NEXT: Final = text("SELECT nextval('events_id_seq') FROM generate_series(1, :count)")
_UNDER_WAY: Final = text(
    "SELECT min(((classid::bigint << 32) | objid::bigint) & ((CAST(1 AS bigint) << :bits) - 1))"
    " FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (classid::bigint << 32) >> :bits = :purpose"
)


def next_numbers(connection: Connection, count: int) -> Sequence[int]:
    """Numbers for new reports, ascending. Told beforehand, a batch goes into the database as it is, row for row."""
    if connection.dialect.name != "postgresql":
        # Whoever writes to SQLite is alone until the end of the transaction.
        newest = _newest(connection)
        return range(newest + 1, newest + 1 + count)
    # Before it has a number, a transaction shows a lower bound of the numbers that it will have. The lock hinders
    # nobody, and the server takes it away only once everybody sees what was committed.
    connection.execute(_BEGIN, {"purpose": _PURPOSE, "bits": _KEY_BITS})
    return sorted(connection.execute(_NEXT, {"count": count}).scalars())


def settled(connection: Connection) -> int:
    """The highest number up to which every transaction is over: nothing will appear there any more.

    It waits for nobody and nobody waits for it. What it says may be lower than what it said before, where a transaction
    has looked up its lower bound and not its numbers; those will be higher than anything that was ever settled.
    """
    if connection.dialect.name != "postgresql":
        return _newest(connection)
    # In this order: what was given out until here has its lock by then, or is over.
    given_out = int(connection.execute(_GIVEN_OUT).scalar_one())
    bound = connection.execute(_UNDER_WAY, {"purpose": _PURPOSE, "bits": _KEY_BITS}).scalar()
    return given_out if bound is None else min(given_out, bound)


def before_removal(connection: Connection) -> None:
    """Keep in mind which numbers were given, in the transaction that removes reports; PostgreSQL does by itself."""
    if connection.dialect.name != "postgresql":
        upsert(connection, schema.POSITIONS, [{"reader": GIVEN, "position": _newest(connection)}])


def _newest(connection: Connection) -> int:
    """The newest number of a SQLite store, also where its report is gone; nobody who reads has come further."""
    stored = select(func.max(schema.EVENTS.c.id)).scalar_subquery()
    given = select(func.max(schema.POSITIONS.c.position)).scalar_subquery()
    query = select(func.max(func.coalesce(stored, 0), func.coalesce(given, 0)))
    return int(connection.execute(query).scalar_one())
