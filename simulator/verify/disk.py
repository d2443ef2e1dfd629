"""The simulated disk: a journal as a row of records in bytes, of which a power cut may take or tear the last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never
from zlib import crc32

from agent.core.batch import Batch, Checkpoint, Entry
from agent.core.events import EVENT_CODEC
from agent.core.outbox import (
    Acknowledged,
    DropReport,
    Durable,
    ForgetReports,
    KeepReport,
    MarkAcknowledged,
    Numbered,
    NumberReport,
    OutboxState,
    RememberStored,
    UnmarkAcknowledged,
)
from agent.core.shell import CHECKPOINTS_KEPT
from agent.wire.events import Report


class DiskFull(Exception):
    """There is no room; nothing of the batch is kept."""


@dataclass(slots=True)
class Row:
    """One report as the journal keeps it."""

    content: str
    seq: int | None = None
    digest: str | None = None
    acknowledged_ms: int | None = None


@dataclass(slots=True)
class Kept:
    """What the records amount to."""

    stream: str
    session: int = 0
    entries: list[Entry] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    """The newest ones, the newest first."""
    executed: set[str] = field(default_factory=set)
    rows: dict[int, Row] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    """Position by number."""
    told: dict[int, str] = field(default_factory=dict)
    """The content of each report that was ever queued, by position, but for those that were replaced or moved."""
    next_position: int = 1
    next_seq: int = 1
    stored_seq: int = 0
    store: str | None = None
    held_after: str | None = None

    def outbox(self) -> OutboxState:
        """What a restored outbox starts from."""
        acknowledged: list[Acknowledged] = []
        numbered: list[Numbered] = []
        queued: list[tuple[int, Report]] = []
        for position in sorted(self.rows):
            row = self.rows[position]
            if row.seq is None:
                queued.append((position, _report(row)))
                continue
            assert row.digest is not None, "a number comes with its digest"
            if row.acknowledged_ms is None:
                numbered.append(Numbered(position, row.seq, _report(row), row.digest))
            else:
                size_bytes, at_ms = len(row.content), row.acknowledged_ms
                acknowledged.append(Acknowledged(row.seq, size_bytes, at_ms, row.digest))
        return OutboxState(
            next_position=self.next_position,
            next_seq=self.next_seq,
            stored_seq=self.stored_seq,
            store=self.store,
            held_after=self.held_after,
            acknowledged=acknowledged,
            numbered=numbered,
            queued=queued,
        )

    def apply(self, change: Durable) -> None:
        """One change of the outbox, as the journal's tables take it."""
        match change:
            case KeepReport(position=position, content=content):
                self.rows[position] = Row(content)
                self.told[position] = content
                self.next_position = position + 1
            case DropReport(position=position):
                del self.rows[position], self.told[position]
            case NumberReport(position=position, seq=seq, digest=digest):
                assert seq not in self.positions, f"number {seq} is given twice"
                self.rows[position].seq, self.rows[position].digest = seq, digest
                self.positions[seq] = position
                self.next_seq = seq + 1
            case MarkAcknowledged(through=through, at_ms=at_ms):
                self._mark(through, at_ms)
            case UnmarkAcknowledged(above=above):
                for seq in range(above + 1, self.next_seq):
                    if seq in self.positions:
                        self.rows[self.positions[seq]].acknowledged_ms = None
            case ForgetReports(through=through, digest=digest):
                self.held_after = digest
                for seq in [s for s in self.positions if s <= through]:
                    del self.rows[self.positions.pop(seq)]
            case RememberStored(store=store, stored_seq=stored_seq, next_seq=next_seq):
                self.store, self.stored_seq, self.next_seq = store, stored_seq, next_seq
            case _:
                assert_never(change)

    def take(self, batch: Batch) -> None:
        """Keep one batch."""
        if batch.entry is not None:
            assert batch.entry.n == len(self.entries) + 1, "inputs are numbered without a gap"
            self.entries.append(batch.entry)
        if batch.checkpoint is not None:
            self.checkpoints = [batch.checkpoint, *self.checkpoints][:CHECKPOINTS_KEPT]
        for change in batch.outbox:
            self.apply(change)
        self.executed.update(batch.executed)
        if batch.session is not None:
            self.session = batch.session

    def fetch(self, first: int, last: int) -> Sequence[tuple[int, Report]]:
        """Numbered reports by number."""
        found = ((seq, self.positions.get(seq)) for seq in range(first, last + 1))
        return [(seq, _report(self.rows[p])) for seq, p in found if p is not None]

    def _mark(self, through: int, at_ms: int) -> None:
        """What is acknowledged already lies below, so the numbers are gone through downwards."""
        for seq in range(through, 0, -1):
            if seq not in self.positions:
                return
            row = self.rows[self.positions[seq]]
            if row.acknowledged_ms is not None:
                return
            row.acknowledged_ms = at_ms


def _report(row: Row) -> Report:
    return Report.model_validate_json(row.content)


class Disk:
    """One device's journal."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._records: list[bytes] = []
        self._lazy = 0
        """How many of the last records a power cut may take."""
        self._torn: bytes | None = None
        self._ages: list[int] = []
        self._read: dict[bytes, Batch] = {}
        """What each record was found to say when it was read back."""
        self.kept = Kept(stream)
        self.is_full = False

    def commit(self, batch: Batch, at_ms: int) -> None:
        """Keep a batch.

        Raises:
            DiskFull: nothing of it is kept.
        """
        if self.is_full:
            raise DiskFull
        self._records.append(_dumped(batch))
        self._ages.append(at_ms)
        self._lazy = self._lazy + 1 if batch.lazy else 0
        self.kept.take(batch)

    def tear(self, batch: Batch) -> None:
        """The power goes while this batch is written: its first half is there."""
        record = _dumped(batch)
        self._torn = record[: len(record) // 2]

    def lose_lazy(self, share: float) -> int:
        """The power cut takes this share of what was only committed lazily, the newest first; how many."""
        lost = min(self._lazy, max(1, round(share * self._lazy))) if self._lazy else 0
        self._cut(len(self._records) - lost)
        return lost

    def become_older(self, at_ms: int) -> int:
        """The journal is replaced by a copy made at that time; how many records are gone."""
        length = next((i for i, age in enumerate(self._ages) if age > at_ms), len(self._ages))
        lost = len(self._records) - max(1, length)
        self._cut(max(1, length))
        return max(0, lost)

    def _cut(self, length: int) -> None:
        del self._records[length:], self._ages[length:]
        self._lazy = 0

    def load(self) -> Kept:
        """What the bytes say. A torn record at the end is dropped, as a write-ahead log does."""
        records = self._records if self._torn is None else [*self._records, self._torn]
        self._torn = None
        kept = Kept(self._stream)
        for number, record in enumerate(records):
            if record not in self._read:
                content = _whole(record)
                if content is None:
                    assert number == len(records) - 1, "only the last record can be torn"
                    break
                self._read[record] = _loaded(content)
            kept.take(self._read[record])
        self._lazy = 0
        self.kept = kept
        return kept

    def fetch(self, first: int, last: int) -> Sequence[tuple[int, Report]]:
        """Numbered reports by number."""
        return self.kept.fetch(first, last)


# A report travels as the JSON that the outbox made of it; everything else is plain numbers and words.

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        DropReport,
        NumberReport,
        MarkAcknowledged,
        UnmarkAcknowledged,
        ForgetReports,
        RememberStored,
    )
}


def _dumped(batch: Batch) -> bytes:
    entry, kept = batch.entry, batch.checkpoint
    content = json.dumps(
        {
            "entry": entry and _dumped_entry(entry),
            "checkpoint": kept and [kept.n, kept.content.decode()],
            "outbox": [_dumped_change(change) for change in batch.outbox],
            "executed": list(batch.executed),
            "session": batch.session,
        }
    ).encode()
    return b"%08x" % crc32(content) + content


def _dumped_entry(entry: Entry) -> list[Any]:
    event = EVENT_CODEC.dumps(entry.event).decode()
    return [entry.n, entry.at_ms, entry.wall_ms, entry.machine_version, event, entry.digest]


def _dumped_change(change: Durable) -> list[Any]:
    if isinstance(change, KeepReport):
        return ["KeepReport", change.position, change.content]
    kind = type(change)
    return [kind.__name__, *(getattr(change, name) for name in kind.__slots__)]


def _whole(record: bytes) -> bytes | None:
    content = record[8:]
    return content if record[:8] == b"%08x" % crc32(content) else None


def _loaded(content: bytes) -> Batch:
    read = json.loads(content)
    entry = None
    if read["entry"] is not None:
        n, at_ms, wall_ms, version, event, digest = read["entry"]
        entry = Entry(n, at_ms, wall_ms, version, EVENT_CODEC.loads(event), digest)
    checkpoint = None
    if read["checkpoint"] is not None:
        n, kept = read["checkpoint"]
        checkpoint = Checkpoint(n, kept.encode())
    return Batch(
        entry=entry,
        checkpoint=checkpoint,
        outbox=[_loaded_change(*change) for change in read["outbox"]],
        executed=read["executed"],
        session=read["session"],
    )


def _loaded_change(kind: str, *values: Any) -> Durable:
    if kind == "KeepReport":
        position, content = values
        return KeepReport(position, Report.model_validate_json(content), content)
    change: Durable = _KINDS[kind](*values)
    return change
