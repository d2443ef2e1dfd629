"""The store: takes reports in exactly once and in order, and knows nothing that it can't show the report for."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, bindparam, delete, func, insert, select, tuple_, update

from agent.wire.codec import JsonCodec
from agent.wire.events import AttemptStarted, CommandAnswered, Report
from agent.wire.messages import Presence
from agent.wire.topics import PARTITIONS as ALL_PARTITIONS
from collector import precedence, schema
from collector.attempts import Attempts, AttemptView, StoredReport
from collector.database import Database, StoreFailed, upsert
from collector.intake import (
    Accepted,
    Decision,
    Duplicate,
    Fork,
    Gap,
    Incoming,
    Loss,
    Readable,
    Refused,
    SetAside,
    StreamRow,
    Unreadable,
    fold,
)
from collector.janitor import Leftover

SET_ASIDE_MAX: Final = 1_000
PAYLOAD_HEAD_BYTES: Final = 1_024
# SQLite binds at most 32,766 values in one statement.
_CHUNK: Final = 5_000

# The attempts table has a column for each field of the view, under the same name.
_VIEW: Final[TypeAdapter[AttemptView]] = TypeAdapter(AttemptView)
REPORT_CODEC: Final[JsonCodec[Report]] = JsonCodec(Report)

Key = tuple[str, str]
"""Device and stream, or device and attempt."""


class TermLost(Exception):
    """Another collector owns the partition now; what was about to be committed was not."""

    def __init__(self, partition: str) -> None:
        super().__init__(f"partition {partition} has another owner now")
        self.partition = partition


@dataclass(frozen=True, slots=True)
class Arrival:
    """One report as it arrived at the owner of its partition."""

    partition: str
    term: int
    incoming: Incoming

    @property
    def key(self) -> Key:
        """Device and stream."""
        match self.incoming:
            case Readable(event=event):
                return (event.device, event.stream)
            case Unreadable(envelope=envelope):
                return (envelope.device, envelope.stream)


@dataclass(frozen=True, slots=True)
class RefusedPayload:
    """One payload that no stream could be asked about."""

    topic: str
    refused: Refused
    payload_bytes: int
    payload_head: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit did. `rows` are the streams to acknowledge, duplicates and gaps included."""

    rows: dict[Key, StreamRow]
    decisions: tuple[Decision, ...]
    started: tuple[Key, ...]
    """Device and attempt of each attempt that asks to be admitted."""
    answered: tuple[tuple[str, str], ...]
    """Device and id of each command that was answered."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One stored report, for the audit. `times` is how often it is stored."""

    device: str
    stream: str
    seq: int
    digest: str
    times: int


@dataclass(frozen=True, slots=True)
class LossRow:
    """A recorded loss, for the audit and for people."""

    device: str
    stream: str
    loss: Loss
    recorded_ms: int


@dataclass(slots=True)
class _Batch:
    """What one transaction gathers before it writes."""

    rows: dict[Key, StreamRow]
    ids: dict[Key, int]
    events: list[dict[str, Any]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    reports: list[tuple[str, str, Report]] = field(default_factory=list)


class Store:
    """Every method is one transaction and may be called from any thread."""

    def __init__(self, url: str, *, now_ms: int) -> None:
        """Open the store, or make it.

        Raises:
            StoreFailed: it can't be opened, or was made by a version that this one does not know.
        """
        self.database = Database(url)
        try:
            self.id, self.made_ms = self._open(now_ms)
        except BaseException:
            self.database.close()
            raise

    def _open(self, now_ms: int) -> tuple[str, int]:
        with self.database.writing() as connection:
            schema.METADATA.create_all(connection)
            row = connection.execute(select(schema.STORE)).first()
            if row is None:
                store_id = str(uuid.uuid4())
                connection.execute(
                    insert(schema.STORE).values(id=store_id, version=schema.VERSION, made_ms=now_ms)
                )
                return store_id, now_ms
        if row.version != schema.VERSION:
            raise StoreFailed(
                f"the store at {self.database.shown_url} has version {row.version} and this program knows "
                f"{schema.VERSION}; run the program that made it, or begin with an empty data directory"
            )
        return row.id, row.made_ms

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    # Terms

    def claim(self, partitions: Iterable[str] = ALL_PARTITIONS) -> dict[str, int]:
        """Own these partitions from now on: each gets a new term, and commits of older terms fail."""
        names = tuple(partitions)
        table = schema.PARTITIONS
        with self.database.writing() as connection:
            upsert(connection, table, [{"partition": p, "term": 1} for p in names], add="term")
            found = connection.execute(select(table).where(table.c.partition.in_(names)))
            return {row.partition: row.term for row in found}

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
        with self.database.writing() as connection:
            _hold_terms(connection, {a.partition: a.term for a in arrivals})
            keys = dict.fromkeys(a.key for a in arrivals)
            before, ids = _load_streams(connection, keys)
            batch = _Batch(rows=dict(before), ids=ids)
            decisions = [self._decide(connection, batch, a, now_ms) for a in arrivals]
            _advance(connection, batch, before)
            orders = _insert_events(connection, batch.events)
            if batch.losses:
                connection.execute(insert(schema.LOSSES), batch.losses)
            self._fold_attempts(connection, batch, orders, now_ms)
            answered = _answer_commands(connection, batch)
        return Committed(
            rows=batch.rows,
            decisions=tuple(decisions),
            started=tuple(
                (device, report.attempt)
                for device, _stream, report in batch.reports
                if isinstance(report.body, AttemptStarted)
            ),
            answered=answered,
        )

    def _decide(
        self, connection: Connection, batch: _Batch, arrival: Arrival, now_ms: int
    ) -> Decision:
        key = arrival.key
        decision = fold(batch.rows[key], arrival.incoming)
        batch.rows[key] = decision.row
        if key not in batch.ids and isinstance(decision, (Accepted, SetAside)):
            batch.ids[key] = _new_stream(connection, key)
        match decision:
            case Accepted(event=event, digest=content, loss=loss):
                losses = () if loss is None else (loss,)
                batch.events.append(_event_values(batch.ids[key], arrival, content, now_ms))
                batch.reports.append((event.device, event.stream, event.report))
            case SetAside(losses=losses):
                pass
            case Duplicate() | Gap() | Fork():
                losses = ()
        batch.losses += [_loss_values(batch.ids[key], loss, now_ms) for loss in losses]
        return decision

    def _fold_attempts(
        self, connection: Connection, batch: _Batch, orders: Sequence[int], now_ms: int
    ) -> None:
        if not batch.reports:
            return
        keys = {(device, report.attempt) for device, _stream, report in batch.reports}
        attempts = Attempts.of(_load_views(connection, keys))
        for order, (device, stream, report) in zip(orders, batch.reports, strict=True):
            attempts.apply(StoredReport(order, device, stream, now_ms, report))
        _save_views(connection, attempts)

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
        with self.database.writing() as connection:
            return [p for p in presences if _keep_presence(connection, p, now_ms)]

    # Looking

    def stream(self, device: str, stream: str) -> StreamRow:
        """How far one stream is stored; a row that says 0 when nothing is."""
        with self.database.reading() as connection:
            rows, _ids = _load_streams(connection, {(device, stream): None})
        return rows[device, stream]

    def attempts(self) -> list[AttemptView]:
        """The view of every attempt, in the order of their first reports."""
        table = schema.ATTEMPTS
        with self.database.reading() as connection:
            found = connection.execute(select(table).order_by(table.c.first_order)).mappings()
            return [_view(row) for row in found]

    def open_attempts(self) -> list[AttemptView]:
        """The attempts that have not ended, in the order of their first reports."""
        table = schema.ATTEMPTS
        query = select(table).where(table.c.end_state.is_(None)).order_by(table.c.first_order)
        with self.database.reading() as connection:
            return [_view(row) for row in connection.execute(query).mappings()]

    def device_attempts(self, device: str) -> list[AttemptView]:
        """The attempts of one device, the first one first."""
        table = schema.ATTEMPTS
        query = select(table).where(table.c.device == device).order_by(table.c.first_order)
        with self.database.reading() as connection:
            return [_view(row) for row in connection.execute(query).mappings()]

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
                (row["seq"], _stored_report(row)) for row in connection.execute(query).mappings()
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
            .order_by(events.c.id)
        )
        attempts = Attempts()
        with self.database.reading() as connection:
            for row in connection.execute(query).yield_per(1_000).mappings():
                attempts.apply(_stored_report(row))
        return attempts.all()

    def rebuild(self) -> int:
        """Replace the attempts table by a fresh fold of the events; returns how many attempts there are."""
        fresh = Attempts.of(self.derive())
        fresh.changed.update((v.device, v.attempt) for v in fresh.all())
        with self.database.writing() as connection:
            connection.execute(delete(schema.ATTEMPTS))
            _save_views(connection, fresh)
        return len(fresh.all())


def _keep_presence(connection: Connection, presence: Presence, now_ms: int) -> bool:
    table = schema.PRESENCE
    mine = (table.c.device == presence.device, table.c.stream == presence.stream)
    known = connection.execute(select(table.c.session).where(*mine)).scalar()
    if not precedence.counts(presence.session, known):
        return False
    values = {
        "device": presence.device,
        "stream": presence.stream,
        "session": presence.session,
        "state": presence.state,
        "seen_ms": now_ms,
    }
    upsert(connection, table, [values])
    return True


def _hold_terms(connection: Connection, terms: Mapping[str, int]) -> None:
    table = schema.PARTITIONS
    query = select(table).where(table.c.partition.in_(list(terms))).with_for_update(read=True)
    current = {row.partition: row.term for row in connection.execute(query)}
    for partition, term in terms.items():
        if not precedence.may_commit(term, current.get(partition)):
            raise TermLost(partition)


def _chunks(keys: Iterable[Key]) -> Iterator[list[Key]]:
    every = list(keys)
    for start in range(0, len(every), _CHUNK):
        yield every[start : start + _CHUNK]


def _load_streams(
    connection: Connection, keys: Mapping[Key, None]
) -> tuple[dict[Key, StreamRow], dict[Key, int]]:
    table = schema.STREAMS
    rows = {key: StreamRow(*key) for key in keys}
    ids: dict[Key, int] = {}
    for chunk in _chunks(keys):
        wanted = tuple_(table.c.device, table.c.stream).in_(chunk)
        for row in connection.execute(select(table).where(wanted)):
            key = (row.device, row.stream)
            rows[key] = StreamRow(*key, last_seq=row.last_seq, last_digest=row.last_digest)
            ids[key] = row.id
    return rows, ids


def _new_stream(connection: Connection, key: Key) -> int:
    device, stream = key
    made = connection.execute(
        insert(schema.STREAMS).values(device=device, stream=stream, last_seq=0, last_digest="")
    )
    inserted = made.inserted_primary_key
    assert inserted is not None, "the database numbers streams"
    return int(inserted[0])


_ADVANCE: Final = (
    update(schema.STREAMS)
    .where(
        schema.STREAMS.c.id == bindparam("moved"),
        schema.STREAMS.c.last_seq == bindparam("was"),
    )
    .values(last_seq=bindparam("last_seq"), last_digest=bindparam("last_digest"))
)


def _advance(connection: Connection, batch: _Batch, before: Mapping[Key, StreamRow]) -> None:
    """Move the streams on, each only from where it was read to be."""
    moves = [
        {
            "moved": batch.ids[key],
            "was": before[key].last_seq,
            "last_seq": row.last_seq,
            "last_digest": row.last_digest,
        }
        for key, row in batch.rows.items()
        if row != before[key]
    ]
    if not moves:
        return
    if connection.dialect.supports_sane_multi_rowcount:
        moved = connection.execute(_ADVANCE, moves).rowcount
    else:
        moved = sum(connection.execute(_ADVANCE, move).rowcount for move in moves)
    if moved != len(moves):
        raise StoreFailed("a stream was moved by somebody else meanwhile")


def _event_values(stream_id: int, arrival: Arrival, content: str, now_ms: int) -> dict[str, Any]:
    assert isinstance(arrival.incoming, Readable), "only a readable event is stored"
    event = arrival.incoming.event
    report = event.report
    return {
        "stream_id": stream_id,
        "seq": event.seq,
        "device": event.device,
        "attempt": report.attempt,
        "received_ms": now_ms,
        "attempt_ms": report.attempt_ms,
        "kind": report.body.kind,
        "digest": content,
        "report": REPORT_CODEC.dumps(report).decode(),
    }


def _insert_events(connection: Connection, events: list[dict[str, Any]]) -> list[int]:
    """The ids of the inserted events, in the same order."""
    if not events:
        return []
    table = schema.EVENTS
    statement = insert(table).returning(table.c.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, events).scalars())


def _loss_values(stream_id: int, loss: Loss, now_ms: int) -> dict[str, Any]:
    return {
        "stream_id": stream_id,
        "first_seq": loss.first_seq,
        "last_seq": loss.last_seq,
        "cause": loss.cause,
        "recorded_ms": now_ms,
    }


def _loss_row(row: Mapping[Any, Any]) -> LossRow:
    return LossRow(
        device=row["device"],
        stream=row["stream"],
        loss=Loss(row["first_seq"], row["last_seq"], row["cause"]),
        recorded_ms=row["recorded_ms"],
    )


def _load_views(connection: Connection, keys: Iterable[Key]) -> Iterator[AttemptView]:
    """The attempts named, with all open ones and the latest one of the same devices."""
    table = schema.ATTEMPTS
    every = list(keys)
    devices = sorted({device for device, _attempt in every})
    attempts = {attempt for _device, attempt in every}
    for start in range(0, len(devices), _CHUNK):
        query = select(table).where(table.c.device.in_(devices[start : start + _CHUNK]))
        for row in connection.execute(query).mappings():
            if row["latest"] or row["end_state"] is None or row["attempt"] in attempts:
                yield _view(row)


def _save_views(connection: Connection, attempts: Attempts) -> None:
    values = []
    for key in sorted(attempts.changed):
        view = attempts.get(*key)
        assert view is not None, "a changed attempt is among the attempts"
        values.append(_view_values(view))
    upsert(connection, schema.ATTEMPTS, values)


def _view_values(view: AttemptView) -> dict[str, Any]:
    return {**_VIEW.dump_python(view, mode="json"), "user_key": user_key(view.user)}


def _view(row: Mapping[Any, Any]) -> AttemptView:
    return _VIEW.validate_python(dict(row))


def user_key(user: str | None) -> str | None:
    """What two spellings of one user have in common."""
    return None if user is None else user.casefold()


def _stored_report(row: Mapping[Any, Any]) -> StoredReport:
    return StoredReport(
        order=row["id"],
        device=row["device"],
        stream=row["stream"],
        received_ms=row["received_ms"],
        report=REPORT_CODEC.loads(row["report"]),
    )


def _answer_commands(connection: Connection, batch: _Batch) -> tuple[tuple[str, str], ...]:
    """The first answer to a command counts."""
    table = schema.COMMANDS
    answered = []
    for device, _stream, report in batch.reports:
        if isinstance(report.body, CommandAnswered):
            body = report.body
            connection.execute(
                update(table)
                .where(table.c.id == body.command, table.c.device == device)
                .where(table.c.executed.is_(None))
                .values(executed=body.executed, reason=body.reason)
            )
            answered.append((device, body.command))
    return tuple(answered)
