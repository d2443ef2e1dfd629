"""What a transaction writes."""

from __future__ import annotations

import sqlite3
from typing import Any, assert_never

from agent.core.batch import Batch
from agent.core.events import EVENT_CODEC
from agent.core.outbox import (
    DropReport,
    Durable,
    ForgetReports,
    KeepReport,
    MarkAcknowledged,
    NumberReport,
    RememberStored,
    UnmarkAcknowledged,
)
from agent.journal.rows import keep_checkpoint


class Writes:
    """The statements of a transaction: those of a kind together, for that is what a fleet's journal spends its time on.

    Entries, reports, numbers, acknowledgements and devices are written in this order; what does not bear it, and is rare, is written in
    its place. A new one is needed after a transaction that failed.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._entries: list[tuple[Any, ...]] = []
        self._reports: dict[tuple[int, int], tuple[Any, ...]] = {}
        self._numbers: list[tuple[Any, ...]] = []
        self._marks: list[tuple[Any, ...]] = []
        self._devices: dict[int, dict[str, Any]] = {}
        self._marked: dict[int, int] = {}
        """Up to which number every report of a device is marked as acknowledged, as far as is known."""

    def add(self, key: int, batch: Batch) -> None:
        """Take in what is to be written of one device."""
        if (entry := batch.entry) is not None:
            event = EVENT_CODEC.dumps(entry.event).decode()
            self._entries.append(
                (
                    key,
                    entry.n,
                    entry.at_ms,
                    entry.wall_ms,
                    entry.machine_version,
                    event,
                    entry.digest,
                )
            )
        if batch.checkpoint is not None:
            keep_checkpoint(self._connection, key, batch.checkpoint)
        for change in batch.outbox:
            self._add_change(key, change)
        for command in batch.executed:
            self._connection.execute("INSERT OR IGNORE INTO command VALUES (?, ?)", (key, command))
        if batch.session is not None:
            self._set(key, session=batch.session)

    def flush(self) -> None:
        """Write all of it."""
        many = self._connection.executemany
        if self._entries:
            many("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", self._entries)
        if self._reports:
            many(
                "INSERT INTO report (device, position, content, seq, digest) VALUES (?, ?, ?, ?, ?)",
                self._reports.values(),
            )
        if self._numbers:
            many(
                "UPDATE report SET seq = ?, digest = ? WHERE device = ? AND position = ?",
                self._numbers,
            )
        if self._marks:
            many(
                "UPDATE report SET acknowledged_ms = ?"
                " WHERE device = ? AND seq > ? AND seq <= ? AND acknowledged_ms IS NULL",
                self._marks,
            )
        for columns, rows in self._device_rows().items():
            names = ", ".join(f"{name} = ?" for name in columns)
            many(f"UPDATE device SET {names} WHERE id = ?", rows)  # noqa: S608
        for written in (self._entries, self._reports, self._numbers, self._marks, self._devices):
            written.clear()

    def _device_rows(self) -> dict[tuple[str, ...], list[tuple[Any, ...]]]:
        rows: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for key, columns in self._devices.items():
            rows.setdefault(tuple(columns), []).append((*columns.values(), key))
        return rows

    def _set(self, key: int, **columns: Any) -> None:
        self._devices.setdefault(key, {}).update(columns)

    def _add_change(self, key: int, change: Durable) -> None:
        match change:
            case KeepReport(position=position, content=content):
                self._reports[key, position] = (key, position, content, None, None)
                self._set(key, next_position=position + 1)
            case NumberReport(position=position, seq=seq, digest=digest):
                if (key, position) in self._reports:
                    report = self._reports[key, position]
                    self._reports[key, position] = (*report[:3], seq, digest)
                else:
                    self._numbers.append((seq, digest, key, position))
                self._set(key, next_seq=seq + 1)
            case MarkAcknowledged(through=through, at_ms=at_ms):
                self._marks.append((at_ms, key, self._marked.get(key, 0), through))
                self._marked[key] = max(through, self._marked.get(key, 0))
            case RememberStored(store=store, stored_seq=stored_seq, next_seq=next_seq):
                self._set(key, store=store, stored_seq=stored_seq, next_seq=next_seq)
            case DropReport() | UnmarkAcknowledged() | ForgetReports():
                self.flush()
                self._take_back(key, change)
            case _:
                assert_never(change)

    def _take_back(self, key: int, change: DropReport | UnmarkAcknowledged | ForgetReports) -> None:
        execute = self._connection.execute
        # Numbers that were acknowledged may come to be given again.
        self._marked.pop(key, None)
        match change:
            case DropReport(position=position):
                execute("DELETE FROM report WHERE device = ? AND position = ?", (key, position))
            case UnmarkAcknowledged(above=above):
                execute(
                    "UPDATE report SET acknowledged_ms = NULL WHERE device = ? AND seq > ?",
                    (key, above),
                )
            case ForgetReports(through=through, digest=digest):
                execute("DELETE FROM report WHERE device = ? AND seq <= ?", (key, through))
                execute("UPDATE device SET held_after = ? WHERE id = ?", (digest, key))
            case _:
                assert_never(change)
