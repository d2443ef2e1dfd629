"""One commit: what arrived is folded into streams, events and attempts, all in the transaction of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from agent.wire.events import AttemptStarted, CommandAnswered, Report
from collector import precedence
from collector.attempts import Attempts, AttemptView, StoredReport
from collector.intake import (
    Accepted,
    Decision,
    Duplicate,
    Fork,
    Gap,
    Loss,
    Readable,
    SetAside,
    StreamRow,
    fold,
)
from collector.store import schema
from collector.store.columns import MOVES, REPORT_CODEC, move_values, view_of, view_values
from collector.store.database import StoreFailed, upsert
from collector.store.memory import Memory, PartitionMemory
from collector.store.records import Arrival, Committed, Key, TermLost

# SQLite binds at most 32,766 values in one statement.
_CHUNK: Final = 5_000


Known = Mapping[Key, PartitionMemory]
"""What is remembered of the partition of each stream."""


@dataclass(slots=True)
class _Batch:
    """What one transaction gathers before it writes."""

    rows: dict[Key, StreamRow]
    ids: dict[Key, int]
    events: list[dict[str, Any]] = field(default_factory=list)
    losses: list[tuple[Key, Loss]] = field(default_factory=list)
    reports: list[tuple[str, str, Report]] = field(default_factory=list)


def commit(
    connection: Connection, arrivals: Sequence[Arrival], now_ms: int, memory: Memory
) -> tuple[Committed, Callable[[], None]]:
    """Fold what arrived into the store.

    Returns:
        What was done, and what tells the memory of it once the transaction is committed.

    Raises:
        TermLost: a partition has another owner.
        StoreFailed: a stream is not where it was read to be.
    """
    _hold_terms(connection, {a.partition: a.term for a in arrivals})
    known = {a.key: memory.of(a.partition, a.term) for a in arrivals}
    before, ids = _streams(connection, known)
    batch = _Batch(rows=dict(before), ids=ids)
    decisions = tuple(_decide(batch, arrival, now_ms) for arrival in arrivals)
    _advance(connection, batch, before)
    orders = _insert_events(connection, batch)
    _insert_losses(connection, batch, now_ms)
    attempts = _fold_attempts(connection, batch, orders, now_ms, known)
    committed = Committed(
        rows=batch.rows,
        decisions=decisions,
        started=tuple(
            (device, report.attempt)
            for device, _stream, report in batch.reports
            if isinstance(report.body, AttemptStarted)
        ),
        answered=_answer_commands(connection, batch),
    )
    return committed, lambda: _remember(known, batch, attempts)


def _remember(known: Known, batch: _Batch, attempts: Attempts) -> None:
    by_device = {device: memory for (device, _stream), memory in known.items()}
    for key, number in batch.ids.items():
        known[key].streams[key] = (number, batch.rows[key])
    views: dict[str, list[AttemptView]] = {}
    for view in attempts.all():
        if view.latest or view.end_state is None:
            views.setdefault(view.device, []).append(view)
    for device, some in views.items():
        by_device[device].views[device] = tuple(some)


def _hold_terms(connection: Connection, terms: Mapping[str, int]) -> None:
    """Nobody takes these partitions over before this transaction ends."""
    table = schema.PARTITIONS
    query = select(table).where(table.c.partition.in_(sorted(terms))).order_by(table.c.partition)
    found = connection.execute(query.with_for_update(read=True))
    current = {row.partition: row.term for row in found}
    for partition, term in terms.items():
        if not precedence.may_commit(term, current.get(partition)):
            raise TermLost(partition, term)


def _streams(connection: Connection, known: Known) -> tuple[dict[Key, StreamRow], dict[Key, int]]:
    rows: dict[Key, StreamRow] = {}
    ids: dict[Key, int] = {}
    unknown = []
    for key, memory in known.items():
        found = memory.streams.get(key)
        if found is None:
            unknown.append(key)
        else:
            ids[key], rows[key] = found
    if unknown:
        loaded, loaded_ids = load_streams(connection, unknown)
        rows |= loaded
        ids |= loaded_ids
    return rows, ids


def load_streams(
    connection: Connection, keys: Iterable[Key]
) -> tuple[dict[Key, StreamRow], dict[Key, int]]:
    """How far these streams are stored, and the ids of those that are known."""
    table = schema.STREAMS
    rows = {key: StreamRow(*key) for key in keys}
    ids: dict[Key, int] = {}
    devices = sorted({device for device, _stream in rows})
    for start in range(0, len(devices), _CHUNK):
        query = select(table).where(table.c.device.in_(devices[start : start + _CHUNK]))
        for number, device, stream, last_seq, last_digest in connection.execute(query):
            key = (device, stream)
            if key in rows:
                rows[key] = StreamRow(device, stream, last_seq, last_digest)
                ids[key] = number
    return rows, ids


def _decide(batch: _Batch, arrival: Arrival, now_ms: int) -> Decision:
    key = arrival.key
    decision = fold(batch.rows[key], arrival.incoming)
    batch.rows[key] = decision.row
    match decision:
        case Accepted(event=event, digest=content, loss=loss):
            losses = () if loss is None else (loss,)
            batch.events.append(_event_values(arrival, content, now_ms))
            batch.reports.append((event.device, event.stream, event.report))
        case SetAside(losses=losses):
            pass
        case Duplicate() | Gap() | Fork():
            losses = ()
    batch.losses += [(key, loss) for loss in losses]
    return decision


_ADVANCE: Final = (
    update(schema.STREAMS)
    .where(
        schema.STREAMS.c.id == bindparam("moved"),
        schema.STREAMS.c.last_seq == bindparam("was"),
    )
    .values(last_seq=bindparam("last_seq"), last_digest=bindparam("last_digest"))
)


def _advance(connection: Connection, batch: _Batch, before: Mapping[Key, StreamRow]) -> None:
    """Begin the new streams and move the known ones on, each only from where it was read to be."""
    changed = {key: row for key, row in batch.rows.items() if row != before[key]}
    fresh = [row for key, row in changed.items() if key not in batch.ids]
    moves = [
        {
            "moved": batch.ids[key],
            "was": before[key].last_seq,
            "last_seq": row.last_seq,
            "last_digest": row.last_digest,
        }
        for key, row in changed.items()
        if key in batch.ids
    ]
    if moves:
        moved = _move(connection, moves)
        if moved != len(moves):
            raise StoreFailed("a stream was moved by somebody else meanwhile")
    if fresh:
        _begin_streams(connection, batch, fresh)


_MOVE_TOGETHER: Final = text(
    "UPDATE streams SET last_seq = v.last_seq, last_digest = v.last_digest"
    " FROM unnest(CAST(:moved AS bigint[]), CAST(:was AS bigint[]),"
    " CAST(:last_seq AS bigint[]), CAST(:last_digest AS text[]))"
    " AS v(id, was, last_seq, last_digest)"
    " WHERE streams.id = v.id AND streams.last_seq = v.was"
)


def _move(connection: Connection, moves: list[dict[str, Any]]) -> int:
    """How many of the streams were where they were read to be."""
    if connection.dialect.name == "postgresql":
        # One statement for all of them, so the server is asked once.
        columns = {name: [move[name] for move in moves] for name in moves[0]}
        return connection.execute(_MOVE_TOGETHER, columns).rowcount
    return connection.execute(_ADVANCE, moves).rowcount


def _begin_streams(connection: Connection, batch: _Batch, fresh: Sequence[StreamRow]) -> None:
    table = schema.STREAMS
    values = [
        {
            "device": row.device,
            "stream": row.stream,
            "last_seq": row.last_seq,
            "last_digest": row.last_digest,
        }
        for row in fresh
    ]
    made = connection.execute(
        insert(table).returning(table.c.id, sort_by_parameter_order=True), values
    )
    for row, number in zip(fresh, made.scalars(), strict=True):
        batch.ids[row.device, row.stream] = number


def _event_values(arrival: Arrival, content: str, now_ms: int) -> dict[str, Any]:
    assert isinstance(arrival.incoming, Readable), "only a readable event is stored"
    event = arrival.incoming.event
    report = event.report
    return {
        "seq": event.seq,
        "device": event.device,
        "stream": event.stream,
        "attempt": report.attempt,
        "received_ms": now_ms,
        "attempt_ms": report.attempt_ms,
        "kind": report.body.kind,
        "digest": content,
        "report": REPORT_CODEC.dumps(report).decode(),
    }


def _insert_events(connection: Connection, batch: _Batch) -> range | Sequence[int]:
    """The numbers of the inserted events, in the same order."""
    if not batch.events:
        return ()
    numbers = _next_events(connection, len(batch.events))
    for number, values in zip(numbers, batch.events, strict=True):
        values["id"] = number
        values["stream_id"] = batch.ids[values["device"], values.pop("stream")]
    connection.execute(insert(schema.EVENTS), batch.events)
    return numbers


_ABOUT_TO_INSERT: Final = text("LOCK TABLE events IN ROW EXCLUSIVE MODE")
_NEXT_EVENT: Final = text(
    "SELECT nextval(pg_get_serial_sequence('events', 'id')) FROM generate_series(1, :count)"
)


def _next_events(connection: Connection, count: int) -> Sequence[int]:
    """Numbers for new events. Told beforehand, a batch goes into the database as it is, row for row."""
    if connection.dialect.name == "postgresql":
        # Whoever has a number has this lock, so that one who follows the reports can wait for all that are under way.
        connection.execute(_ABOUT_TO_INSERT)
        return sorted(connection.execute(_NEXT_EVENT, {"count": count}).scalars())
    # Whoever writes to SQLite is alone until the end of the transaction.
    newest = connection.execute(select(func.max(schema.EVENTS.c.id))).scalar() or 0
    return range(newest + 1, newest + 1 + count)


def _insert_losses(connection: Connection, batch: _Batch, now_ms: int) -> None:
    values = [
        {
            "stream_id": batch.ids[key],
            "first_seq": loss.first_seq,
            "last_seq": loss.last_seq,
            "cause": loss.cause,
            "recorded_ms": now_ms,
        }
        for key, loss in batch.losses
    ]
    if values:
        connection.execute(insert(schema.LOSSES), values)


def _fold_attempts(
    connection: Connection, batch: _Batch, orders: Iterable[int], now_ms: int, known: Known
) -> Attempts:
    named: dict[str, set[str]] = {}
    for device, _stream, report in batch.reports:
        named.setdefault(device, set()).add(report.attempt)
    before: list[AttemptView] = []
    unknown: dict[str, set[str]] = {}
    by_device = {device: memory for (device, _stream), memory in known.items()}
    for device, attempts_named in named.items():
        views = by_device[device].views_for(device, attempts_named)
        if views is None:
            unknown[device] = attempts_named
        else:
            before += views
    before += _load_views(connection, unknown)
    attempts = Attempts.of(before)
    for order, (device, stream, report) in zip(orders, batch.reports, strict=True):
        attempts.apply(StoredReport(order, device, stream, now_ms, report))
    save_views(connection, attempts, before)
    return attempts


def _load_views(connection: Connection, named: Mapping[str, set[str]]) -> Iterator[AttemptView]:
    """The attempts named, with all open ones and the latest one of the same devices."""
    table = schema.ATTEMPTS
    devices = sorted(named)
    for start in range(0, len(devices), _CHUNK):
        query = select(table).where(table.c.device.in_(devices[start : start + _CHUNK]))
        for row in connection.execute(query).mappings():
            is_named = row["attempt"] in named[row["device"]]
            if is_named or row["latest"] or row["end_state"] is None:
                yield view_of(row)


_SETTLED: Final = attrgetter(*(f.name for f in fields(AttemptView) if f.name not in MOVES))
_MOVE: Final = (
    update(schema.ATTEMPTS)
    .where(
        schema.ATTEMPTS.c.device == bindparam("of_device"),
        schema.ATTEMPTS.c.attempt == bindparam("of_attempt"),
    )
    .values({name: bindparam(name) for name in MOVES})
)


def save_views(
    connection: Connection, attempts: Attempts, known: Iterable[AttemptView] = ()
) -> None:
    """Write the attempts that changed; `known` are those that the table has, as it has them."""
    before = {(view.device, view.attempt): view for view in known}
    moved, others = [], []
    for key in sorted(attempts.changed):
        view = attempts.get(*key)
        assert view is not None, "a changed attempt is among the attempts"
        old = before.get(key)
        if old is not None and _SETTLED(old) == _SETTLED(view):
            moved.append(move_values(view))
        else:
            others.append(view_values(view))
    if moved:
        connection.execute(_MOVE, moved)
    upsert(connection, schema.ATTEMPTS, others)


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
