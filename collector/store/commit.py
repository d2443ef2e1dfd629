"""One commit: what arrived is folded into streams, events and attempts, all in the transaction of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, select, update

from agent.wire.events import AttemptStarted, CommandAnswered, LogsCollected
from collector import precedence
from collector.attempts import Attempts, AttemptView, DeviceAttempts, StoredReport
from collector.intake import (
    Accepted,
    Decision,
    Duplicate,
    Fork,
    Gap,
    Incoming,
    Loss,
    SetAside,
    StreamRow,
    fold,
)
from collector.store import schema
from collector.store.bulk import Update, insert_rows, update_rows
from collector.store.columns import MOVES, move_values, view_of, view_values
from collector.store.database import StoreFailed, upsert
from collector.store.memory import Memory, PartitionMemory
from collector.store.numbering import next_numbers
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
    accepted: list[tuple[Key, Accepted]] = field(default_factory=list)
    losses: list[tuple[Key, Loss]] = field(default_factory=list)


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
    keyed = [(a.key, a) for a in arrivals]
    known = {key: memory.of(a.partition, a.term) for key, a in keyed}
    before, ids = _streams(connection, known)
    batch = _Batch(rows=dict(before), ids=ids)
    decisions = tuple(_decide(batch, key, arrival.incoming) for key, arrival in keyed)
    _advance(connection, batch, before)
    orders = _insert_events(connection, batch, now_ms)
    _insert_losses(connection, batch, now_ms)
    attempts = _fold_attempts(connection, batch, orders, now_ms, known)
    committed = Committed(
        rows=batch.rows,
        decisions=decisions,
        started=tuple(
            (device, accepted.event.report.attempt)
            for (device, _stream), accepted in batch.accepted
            if isinstance(accepted.event.report.body, AttemptStarted)
        ),
        answered=_answer_commands(connection, batch, now_ms),
        orders=orders,
        stored=tuple(accepted for _key, accepted in batch.accepted),
        platforms=attempts.platforms(),
    )
    return committed, lambda: _remember(known, batch, attempts)


def _remember(known: Known, batch: _Batch, attempts: Attempts) -> None:
    by_device = {device: memory for (device, _stream), memory in known.items()}
    for key, number in batch.ids.items():
        known[key].streams[key] = (number, batch.rows[key])
    for device, folded in attempts.devices.items():
        folded.forget_history()
        by_device[device].attempts[device] = folded


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


def _decide(batch: _Batch, key: Key, incoming: Incoming) -> Decision:
    decision = fold(batch.rows[key], incoming)
    batch.rows[key] = decision.row
    match decision:
        case Accepted(loss=loss):
            losses = () if loss is None else (loss,)
            batch.accepted.append((key, decision))
        case SetAside(losses=losses):
            pass
        case Duplicate() | Gap() | Fork():
            losses = ()
    batch.losses += [(key, loss) for loss in losses]
    return decision


def _advance(connection: Connection, batch: _Batch, before: Mapping[Key, StreamRow]) -> None:
    """Begin the new streams and move the known ones on, each only from where it was read to be."""
    fresh, moves = [], []
    for key, row in batch.rows.items():
        was = before[key]
        if row is was:
            continue
        number = batch.ids.get(key)
        if number is None:
            fresh.append(row)
        else:
            moves.append((row.last_seq, row.last_digest, number, was.last_seq))
    if moves and update_rows(connection, _MOVE_ON, moves) != len(moves):
        raise StoreFailed("a stream was moved by somebody else meanwhile")
    if fresh:
        _begin_streams(connection, batch, fresh)


_MOVE_ON: Final = Update(
    schema.STREAMS,
    set=("last_seq", "last_digest"),
    where={"id": "id", "last_seq": "was"},
)


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


def _insert_events(connection: Connection, batch: _Batch, now_ms: int) -> Sequence[int]:
    """The numbers of the inserted events, in the same order."""
    if not batch.accepted:
        return ()
    numbers = next_numbers(connection, len(batch.accepted))
    rows = []
    for number, (key, accepted) in zip(numbers, batch.accepted, strict=True):
        event = accepted.event
        report = event.report
        rows.append(
            (
                number,
                batch.ids[key],
                event.seq,
                event.device,
                report.attempt,
                now_ms,
                report.attempt_ms,
                report.body.kind,
                accepted.digest,
                accepted.content,
            )
        )
    insert_rows(connection, schema.EVENTS, rows)
    return numbers


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
    attempts = _attempts_of(connection, batch, known)
    for order, ((device, stream), accepted) in zip(orders, batch.accepted, strict=True):
        attempts.apply(StoredReport(order, device, stream, now_ms, accepted.event.report))
    save_attempts(connection, attempts)
    return attempts


def _attempts_of(connection: Connection, batch: _Batch, known: Known) -> Attempts:
    """The attempts that the batch may touch, as they are before it."""
    named: dict[str, set[str]] = {}
    for (device, _stream), accepted in batch.accepted:
        named.setdefault(device, set()).add(accepted.event.report.attempt)
    by_device = {device: memory for (device, _stream), memory in known.items()}
    attempts = Attempts()
    unknown: dict[str, set[str]] = {}
    missing: dict[str, set[str]] = {}
    for device, ids in named.items():
        remembered = by_device[device].attempts.get(device)
        if remembered is None:
            unknown[device] = ids
            attempts.put(device, DeviceAttempts())
        else:
            attempts.put(device, remembered)
            if not ids <= remembered.by_id.keys():
                missing[device] = ids - remembered.by_id.keys()
    # Of a device that is remembered only an attempt that is over can be missing; mostly it is a new one.
    for view in (
        *_load_views(connection, unknown, also_current=True),
        *_load_views(connection, missing, also_current=False),
    ):
        attempts.devices[view.device].add(view)
    return attempts


def _load_views(
    connection: Connection, named: Mapping[str, set[str]], *, also_current: bool
) -> Iterator[AttemptView]:
    """The attempts named; of the same devices also all open ones and the latest one where that is asked for."""
    table = schema.ATTEMPTS
    devices = sorted(named)
    for start in range(0, len(devices), _CHUNK):
        some = devices[start : start + _CHUNK]
        which: ColumnElement[bool] = table.c.attempt.in_(
            sorted({one for device in some for one in named[device]})
        )
        if also_current:
            which |= table.c.latest | table.c.end_state.is_(None)
        query = select(table).where(table.c.device.in_(some), which)
        for row in connection.execute(query).mappings():
            if also_current or row["attempt"] in named[row["device"]]:
                yield view_of(row)


_MOVE: Final = Update(schema.ATTEMPTS, set=MOVES, where={"device": "device", "attempt": "attempt"})


def save_attempts(connection: Connection, attempts: Attempts) -> None:
    """Write the attempts that changed."""
    moved, others = [], []
    for attempt in attempts.changed():
        if attempt.settled_is_new:
            others.append(view_values(attempt.view))
        elif attempt.has_moved:
            moved.append(move_values(attempt))
        attempt.saved()
    if moved:
        update_rows(connection, _MOVE, moved)
    upsert(connection, schema.ATTEMPTS, others)


def save_views(connection: Connection, views: Iterable[AttemptView]) -> None:
    """Write these attempts, whether the table has them or not."""
    upsert(connection, schema.ATTEMPTS, [view_values(view) for view in views])


def _answer_commands(
    connection: Connection, batch: _Batch, now_ms: int
) -> tuple[tuple[str, str], ...]:
    """The first answer to a command counts; what came of collecting logs follows in a report of its own."""
    table = schema.COMMANDS
    answered = []
    for (device, _stream), accepted in batch.accepted:
        body = accepted.event.report.body
        if isinstance(body, CommandAnswered):
            connection.execute(
                update(table)
                .where(table.c.id == body.command, table.c.device == device)
                .where(table.c.executed.is_(None))
                .values(executed=body.executed, reason=body.reason, answered_ms=now_ms)
            )
            answered.append((device, body.command))
        elif isinstance(body, LogsCollected) and body.command is not None:
            connection.execute(
                update(table)
                .where(table.c.id == body.command, table.c.device == device)
                .where(table.c.finished_ms.is_(None))
                .values(finished_ms=now_ms, result=body.path or body.problem)
            )
    return tuple(answered)
