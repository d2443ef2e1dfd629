"""The store: takes reports in exactly once and in order, and knows nothing that it can't show the report for."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, func, insert, select, tuple_

from agent.wire.messages import Presence
from collector import precedence
from collector.attempts import Attempts, AttemptView, StoredReport
from collector.intake import Loss, StreamRow
from collector.janitor import Leftover
from collector.store import schema
from collector.store.columns import stored_report, view_of
from collector.store.commit import commit, load_streams, save_views
from collector.store.database import Database, upsert
from collector.store.memory import Memory
from collector.store.migrating import migrate
from collector.store.records import Arrival, Committed, Key, LossRow, RefusedPayload, StoredRow

SET_ASIDE_MAX: Final = 1_000
PAYLOAD_HEAD_BYTES: Final = 1_024


class Store:
    """Every method is one transaction and may be called from any thread."""

    def __init__(self, url: str, *, now_ms: int) -> None:
        """Open the store; make or upgrade its tables where that is needed.

        Raises:
            StoreFailed: it can't be opened, or was made by a newer version of this program.
        """
        self.database = Database(url)
        self._memory = Memory()
        try:
            migrate(self.database)
            self.id, self.made_ms = self._identity(now_ms)
        except BaseException:
            self.database.close()
            raise

    def _identity(self, now_ms: int) -> tuple[str, int]:
        with self.database.writing() as connection:
            self.database.queue_up(connection, "store")
            row = connection.execute(select(schema.STORE)).first()
            if row is not None:
                return row.id, row.made_ms
            store_id = str(uuid.uuid4())
            values = {"id": store_id, "version": schema.VERSION, "made_ms": now_ms}
            connection.execute(insert(schema.STORE).values(values))
            return store_id, now_ms

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def term(self, partition: str) -> int:
        """The term of the partition's present owner; 0 when it never had one."""
        table = schema.PARTITIONS
        query = select(table.c.term).where(table.c.partition == partition)
        with self.database.reading() as connection:
            return connection.execute(query).scalar() or 0

    # Taking in

    def commit(self, arrivals: Sequence[Arrival], now_ms: int) -> Committed:
        """Fold what arrived into the store, all of it or nothing.

        Raises:
            TermLost: a partition has another owner; nothing is stored.
            StoreFailed: the database failed; nothing is stored.
        """
        try:
            with self.database.writing() as connection:
                committed, remember = commit(connection, arrivals, now_ms, self._memory)
        except BaseException:
            self._memory.forget({arrival.partition for arrival in arrivals})
            raise
        remember()
        return committed

    def record_refusals(self, refused: Sequence[RefusedPayload], now_ms: int) -> None:
        """Count refused payloads by reason and keep the beginnings of the newest."""
        counts: dict[str, int] = {}
        for one in refused:
            counts[one.refused.reason.value] = counts.get(one.refused.reason.value, 0) + 1
        table = schema.SET_ASIDE
        rows = [
            {
                "received_ms": now_ms,
                "topic": one.topic[:1_000],
                "reason": one.refused.reason.value,
                "sentence": one.refused.sentence[:1_000],
                "payload_bytes": one.payload_bytes,
                "payload_head": one.payload_head[:PAYLOAD_HEAD_BYTES],
            }
            for one in refused[-SET_ASIDE_MAX:]
        ]
        if not rows:
            return
        with self.database.writing() as connection:
            counted = [{"reason": reason, "count": n} for reason, n in sorted(counts.items())]
            upsert(connection, schema.REFUSALS, counted, add="count")
            connection.execute(insert(table), rows)
            newest = connection.execute(select(func.max(table.c.id))).scalar_one()
            connection.execute(delete(table).where(table.c.id <= newest - SET_ASIDE_MAX))

    def record_presences(self, presences: Sequence[Presence], now_ms: int) -> list[Presence]:
        """Keep what devices said of themselves; returns those that count.

        A word of an older session does not count: a will may arrive long after the session that replaced it began.
        """
        if not presences:
            return []
        table = schema.PRESENCE
        devices = sorted({presence.device for presence in presences})
        query = select(table.c.device, table.c.stream, table.c.session)
        newest: dict[Key, Presence] = {}
        counting = []
        with self.database.writing() as connection:
            found = connection.execute(query.where(table.c.device.in_(devices)))
            sessions: dict[Key, int] = {(row.device, row.stream): row.session for row in found}
            for presence in presences:
                key = (presence.device, presence.stream)
                if precedence.counts(presence.session, sessions.get(key)):
                    sessions[key] = presence.session
                    newest[key] = presence
                    counting.append(presence)
            values = [
                {
                    "device": presence.device,
                    "stream": presence.stream,
                    "session": presence.session,
                    "state": presence.state,
                    "seen_ms": now_ms,
                }
                for _key, presence in sorted(newest.items())
            ]
            # Another collector may have heard of a newer session since the look above.
            upsert(connection, table, values, newest="session")
        return counting

    # Looking

    def stream(self, device: str, stream: str) -> StreamRow:
        """How far one stream is stored; a row that says 0 when nothing is."""
        return self.streams([(device, stream)])[0]

    def streams(self, keys: Sequence[Key]) -> list[StreamRow]:
        """The same of many, by device and stream; each is named once."""
        with self.database.reading() as connection:
            rows, _ids = load_streams(connection, keys)
        return list(rows.values())

    def attempts(self) -> list[AttemptView]:
        """The view of every attempt, in the order of their first reports."""
        table = schema.ATTEMPTS
        with self.database.reading() as connection:
            found = connection.execute(select(table).order_by(table.c.first_order)).mappings()
            return [view_of(row) for row in found]

    def open_attempts(self, devices: Collection[str] | None = None) -> list[AttemptView]:
        """The attempts that have not ended, of these devices or of all, in the order of their first reports."""
        table = schema.ATTEMPTS
        query = select(table).where(table.c.end_state.is_(None)).order_by(table.c.first_order)
        if devices is not None:
            query = query.where(table.c.device.in_(devices))
        with self.database.reading() as connection:
            return [view_of(row) for row in connection.execute(query).mappings()]

    def device_attempts(self, device: str) -> list[AttemptView]:
        """The attempts of one device, the first one first."""
        table = schema.ATTEMPTS
        query = select(table).where(table.c.device == device).order_by(table.c.first_order)
        with self.database.reading() as connection:
            return [view_of(row) for row in connection.execute(query).mappings()]

    def device_reports(
        self, device: str, *, limit: int, before_order: int | None = None
    ) -> list[tuple[int, StoredReport]]:
        """The newest reports of one device, the newest first, each with its number in its stream."""
        events, streams = schema.EVENTS, schema.STREAMS
        query = (
            select(events, streams.c.stream)
            .join(streams, streams.c.id == events.c.stream_id)
            .where(events.c.device == device)
            .order_by(events.c.id.desc())
            .limit(limit)
        )
        if before_order is not None:
            query = query.where(events.c.id < before_order)
        with self.database.reading() as connection:
            return [
                (row["seq"], stored_report(row)) for row in connection.execute(query).mappings()
            ]

    def device_presence(self, device: str) -> tuple[str, int] | None:
        """What the device said last of itself and when (ms since 1970); None when it never did."""
        table = schema.PRESENCE
        query = (
            select(table)
            .where(table.c.device == device)
            .order_by(table.c.seen_ms.desc(), table.c.session.desc())
        )
        with self.database.reading() as connection:
            row = connection.execute(query.limit(1)).first()
        return None if row is None else (row.state, row.seen_ms)

    def leftovers(self, ended_by_ms: int) -> Iterator[Leftover]:
        """Devices whose latest attempt ended by then, and that were not cleared since they were last heard of.

        Those that ended first come first.
        """
        attempts, presence, cleared = schema.ATTEMPTS, schema.PRESENCE, schema.CLEARED
        query = (
            select(attempts.c.device, attempts.c.ended_ms, presence.c.state)
            .outerjoin(presence, presence.c.device == attempts.c.device)
            .outerjoin(cleared, cleared.c.device == attempts.c.device)
            .where(attempts.c.latest, attempts.c.ended_ms <= ended_by_ms)
            .where(
                cleared.c.cleared_ms.is_(None)
                | (cleared.c.cleared_ms < attempts.c.ended_ms)
                | (cleared.c.cleared_ms < presence.c.seen_ms)
            )
            .order_by(attempts.c.ended_ms, attempts.c.device)
            .order_by(presence.c.seen_ms, presence.c.session)
        )
        with self.database.reading() as connection:
            found = connection.execute(query).yield_per(1_000)
            for (device, ended_ms), rows in groupby(found, lambda r: (r.device, r.ended_ms)):
                # Of a device with several streams the newest word counts.
                *_, newest = rows
                yield Leftover(device, ended_ms, newest.state)

    def waiting_commands(self, wall_ms: int) -> dict[str, str]:
        """The commands that no device has answered yet: their ids, each with its device."""
        table = schema.COMMANDS
        query = (
            select(table.c.id, table.c.device)
            .where(table.c.executed.is_(None), table.c.expires_ms > wall_ms)
            .order_by(table.c.issued_ms, table.c.id)
        )
        with self.database.reading() as connection:
            return {row.id: row.device for row in connection.execute(query)}

    def record_cleared(self, devices: Iterable[str], cleared_ms: int) -> None:
        """The broker has nothing of these devices any more."""
        values = [{"device": device, "cleared_ms": cleared_ms} for device in devices]
        with self.database.writing() as connection:
            upsert(connection, schema.CLEARED, values)

    def refusals(self) -> dict[str, int]:
        """How many payloads were refused, by reason."""
        table = schema.REFUSALS
        with self.database.reading() as connection:
            found = connection.execute(select(table).order_by(table.c.reason)).mappings()
            return {row["reason"]: row["count"] for row in found}

    def losses(self, device: str | None = None) -> list[LossRow]:
        """The recorded losses, of one device or of all."""
        losses, streams = schema.LOSSES, schema.STREAMS
        query = (
            select(losses, streams.c.device, streams.c.stream)
            .join(streams, streams.c.id == losses.c.stream_id)
            .order_by(losses.c.id)
        )
        if device is not None:
            query = query.where(streams.c.device == device)
        with self.database.reading() as connection:
            return [_loss_row(row) for row in connection.execute(query).mappings()]

    def stored_rows(self) -> Iterator[StoredRow]:
        """Every stored report with its digest, for the audit; grouped, so that it would show one stored twice."""
        events, streams = schema.EVENTS, schema.STREAMS
        query = (
            select(
                streams.c.device,
                streams.c.stream,
                events.c.seq,
                events.c.digest,
                func.count().label("times"),
            )
            .join(streams, streams.c.id == events.c.stream_id)
            .group_by(streams.c.device, streams.c.stream, events.c.seq, events.c.digest)
            .order_by(streams.c.device, streams.c.stream, events.c.seq)
        )
        with self.database.reading() as connection:
            for row in connection.execute(query).yield_per(1_000):
                yield StoredRow(row.device, row.stream, row.seq, row.digest, row.times)

    def reports(self) -> Iterator[tuple[str, str, int, str]]:
        """Every stored report as device, stream, number and JSON; a device's streams in the order of their arrival."""
        events, streams = schema.EVENTS, schema.STREAMS
        query = (
            select(streams.c.device, streams.c.stream, events.c.seq, events.c.report)
            .join(streams, streams.c.id == events.c.stream_id)
            .order_by(streams.c.device, streams.c.id, events.c.seq)
        )
        with self.database.reading() as connection:
            for row in connection.execute(query).yield_per(1_000):
                yield row.device, row.stream, row.seq, row.report

    # Folding again

    def derive(self) -> list[AttemptView]:
        """Fold every stored report again: what the attempts table has to say."""
        events, streams = schema.EVENTS, schema.STREAMS
        query = (
            select(events, streams.c.stream)
            .join(streams, streams.c.id == events.c.stream_id)
            .where(
                tuple_(events.c.device, events.c.attempt).not_in(
                    select(schema.ATTEMPTS.c.device, schema.ATTEMPTS.c.attempt).where(let_go())
                )
            )
            .order_by(events.c.id)
        )
        attempts = Attempts()
        with self.database.reading() as connection:
            for row in connection.execute(query).yield_per(1_000).mappings():
                attempts.apply(stored_report(row))
        return attempts.all()

    def rebuild(self) -> int:
        """Replace the attempts table by a fresh fold of the events; returns how many attempts were folded.

        Attempts whose reports retention let go stay as they are.
        """
        fresh = self.derive()
        self._memory.forget_all()
        with self.database.writing() as connection:
            connection.execute(delete(schema.ATTEMPTS).where(~let_go()))
            save_views(connection, fresh)
        return len(fresh)


def let_go() -> ColumnElement[bool]:
    """Attempts whose first report retention let go: what came later, if anything, does not say what they were."""
    return ~exists().where(schema.EVENTS.c.id == schema.ATTEMPTS.c.first_order)


def _loss_row(row: Mapping[Any, Any]) -> LossRow:
    return LossRow(
        device=row["device"],
        stream=row["stream"],
        loss=Loss(row["first_seq"], row["last_seq"], row["cause"]),
        recorded_ms=row["recorded_ms"],
    )
