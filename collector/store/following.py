"""Reads the stored reports in the order of the store, for whoever follows what happens: webhooks, live updates, stuck items."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select

from agent.wire.codec import JsonCodec
from agent.wire.events import Report
from collector.store import schema
from collector.store.database import Database
from collector.store.numbering import settled

_REPORT: Final[JsonCodec[Report]] = JsonCodec(Report)


@dataclass(frozen=True, slots=True)
class Followed:
    """One stored report, with the platform of its attempt."""

    order: int
    device: str
    stream: str
    seq: int
    attempt: str
    received_ms: int
    platform: str
    user: str | None
    report: Report


class Following:
    """Every method is one transaction and may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> int:
        """Up to where the order is settled: nothing will appear before it any more; 0 for an empty store."""
        with self._database.reading() as connection:
            return settled(connection)

    def after(
        self,
        position: int,
        until: int,
        *,
        limit: int,
        kinds: Collection[str] = (),
        devices: Collection[str] = (),
    ) -> list[Followed]:
        """The next reports after a position, up to another one, the first one first."""
        table = schema.EVENTS
        query = _QUERY.where(table.c.id > position, table.c.id <= until)
        if kinds:
            query = query.where(table.c.kind.in_(sorted(kinds)))
        if devices:
            query = query.where(table.c.device.in_(sorted(devices)))
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(table.c.id).limit(limit))
            return [_followed(row) for row in found]

    def of_attempt(self, device: str, attempt: str) -> Iterator[Followed]:
        """All reports of one attempt."""
        table = schema.EVENTS
        query = _QUERY.where(table.c.device == device, table.c.attempt == attempt)
        with self._database.reading() as connection:
            for row in connection.execute(query.order_by(table.c.id)):
                yield _followed(row)


_E: Final = schema.EVENTS.c
_QUERY: Final = select(
    _E.id,
    _E.device,
    schema.STREAMS.c.stream,
    _E.seq,
    _E.attempt,
    _E.received_ms,
    schema.ATTEMPTS.c.platform,
    schema.ATTEMPTS.c.user,
    _E.report,
).select_from(
    schema.EVENTS.join(schema.STREAMS, schema.STREAMS.c.id == schema.EVENTS.c.stream_id).outerjoin(
        schema.ATTEMPTS,
        (schema.ATTEMPTS.c.device == schema.EVENTS.c.device)
        & (schema.ATTEMPTS.c.attempt == schema.EVENTS.c.attempt),
    )
)


def _followed(row: Sequence[Any]) -> Followed:
    order, device, stream, seq, attempt, received_ms, platform, user, report = row
    return Followed(
        order,
        device,
        stream,
        seq,
        attempt,
        received_ms,
        platform or "",
        user,
        _REPORT.loads(report),
    )
