"""The journal: inputs, outbox and executed commands in SQLite, durable before anything is done about them.

One file holds one device or a whole fleet. One thread writes it; what many devices hand in at the same time goes into
one transaction, and each is told once that is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import queue
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, assert_never

from pydantic import ValidationError

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
from agent.core.shell import CHECKPOINT_BYTES_MAX, CHECKPOINTS_KEPT
from agent.runtime.ports import (
    JournalFailed,
    JournalState,
    JournalUnreadable,
)
from agent.wire.events import Report

APPLICATION_ID: Final = 0x45535041
"""Marks our files among all SQLite files: "ESPA"."""
SCHEMA_VERSION: Final = 3
SCHEMA_WITH_CHECKPOINTS: Final = 3
GROUP_MAX: Final = 512
"""How many batches one transaction takes at most, so that nobody waits long."""
GATHER_S: Final = 0.02
"""How long a fleet's transaction waits for more batches; after one of a single device the next waits for none."""

_SCHEMA = """
CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    stream TEXT NOT NULL UNIQUE,
    session INTEGER NOT NULL DEFAULT 0,
    next_seq INTEGER NOT NULL DEFAULT 1,
    next_position INTEGER NOT NULL DEFAULT 1,
    stored_seq INTEGER NOT NULL DEFAULT 0,
    store TEXT,
    held_after TEXT,
    chained_from INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE entry (
    device INTEGER NOT NULL REFERENCES device (id),
    n INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL,
    machine_version TEXT NOT NULL,
    input TEXT NOT NULL,
    digest TEXT,
    PRIMARY KEY (device, n)
) WITHOUT ROWID;
CREATE TABLE report (
    device INTEGER NOT NULL REFERENCES device (id),
    position INTEGER NOT NULL,
    seq INTEGER,
    digest TEXT,
    acknowledged_ms INTEGER,
    content TEXT NOT NULL,
    PRIMARY KEY (device, position)
) WITHOUT ROWID;
CREATE UNIQUE INDEX report_seq ON report (device, seq) WHERE seq IS NOT NULL;
CREATE TABLE command (
    device INTEGER NOT NULL REFERENCES device (id),
    id TEXT NOT NULL,
    PRIMARY KEY (device, id)
) WITHOUT ROWID;
"""

_CHECKPOINTS = """
CREATE TABLE checkpoint (
    device INTEGER NOT NULL REFERENCES device (id),
    n INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (device, n)
)
"""
"""The newest ones of each device; their content is compressed."""

_MIGRATIONS: Final = {
    1: ("ALTER TABLE entry ADD COLUMN digest TEXT",),
    2: (
        "ALTER TABLE device ADD COLUMN held_after TEXT",
        "ALTER TABLE device ADD COLUMN chained_from INTEGER NOT NULL DEFAULT 1",
        "UPDATE device SET chained_from = next_seq",
        _CHECKPOINTS,
    ),
}
"""What brings a file of an older schema one further."""

_COPIED: Final = {
    "device": "id",
    "entry": "device",
    "report": "device",
    "command": "device",
    "checkpoint": "device",
}
"""What a copy of one device takes from each table, by the column that names the device."""

T = TypeVar("T")

if sys.platform == "win32":
    import msvcrt

    def _hold(lock: int) -> None:
        """Hold an open file alone. Raises `OSError` at once when another process holds it."""
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)

    def _let_go(lock: int) -> None:
        # Windows lets a file go some time after it was closed, unless it is told.
        msvcrt.locking(lock, msvcrt.LK_UNLCK, 1)
        os.close(lock)

else:
    import fcntl

    def _hold(lock: int) -> None:
        """Hold an open file alone. Raises `OSError` at once when another process holds it."""
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go(lock: int) -> None:
        os.close(lock)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One report as an audit compares it."""

    device: str
    stream: str
    seq: int | None
    """None while it waits for a number."""
    digest: str | None
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class _Commit:
    device: str
    batch: Batch
    done: asyncio.Future[None] | None
    """None where nobody waits."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


class SqliteJournal:
    """A journal file, opened for writing. Build it with `open_journal`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._ids: dict[str, int] = {}
        self._writes = _Writes(connection)
        self._inbox: queue.SimpleQueue[_Commit | _Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._is_open = True
        self.commits = 0
        """Batches that are in the file; counted by the writer, for whoever measures."""
        self.transactions = 0
        """Transactions that they went into."""
        self.syncs = 0
        """Of these, those that waited for the disk."""
        self._writer = threading.Thread(
            target=self._write, name=f"journal {path.name}", daemon=True
        )
        self._writer.start()

    # What the driver calls, on its event loop.

    async def load(self, device: str, new_stream: str) -> JournalState:
        """See `Journal.load`."""
        return await self._run(functools.partial(self._load, device, new_stream))

    async def commit(self, device: str, batch: Batch) -> None:
        """See `Journal.commit`."""
        if batch.lazy and batch.entry is None:
            self._submit(_Commit(device, batch, None))
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._submit(_Commit(device, batch, done))
        await done

    async def fetch(self, device: str, first: int, last: int) -> Sequence[tuple[int, Report]]:
        """See `Journal.fetch`."""
        return await self._run(functools.partial(self._fetch, device, first, last))

    async def copy_device(self, device: str, path: str) -> None:
        """See `JournalCopies.copy_device`. What is being written at the same time does not wait for it."""
        if not self._is_open:
            raise JournalFailed(f"{self.path}: the journal is closed")
        await asyncio.to_thread(_copy_device, self.path, device, Path(path))

    def close(self) -> None:
        """Write what was handed in, close the file and let others have it. Blocks until that is done."""
        if not self._is_open:
            return
        self._is_open = False
        self._closing.set()
        self._inbox.put(None)
        self._writer.join()
        _let_go(self._lock)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._submit(_Job(work, done))
        return await done

    def _submit(self, request: _Commit | _Job) -> None:
        if not self._is_open:
            raise JournalFailed(f"{self.path}: the journal is closed")
        self._inbox.put(request)

    # What the writer thread does.

    def _write(self) -> None:
        has_company = False
        while (request := self._inbox.get()) is not None:
            if has_company and isinstance(request, _Commit):
                # To be woken by each batch would cost more than the transactions that are saved; closing ends the wait.
                self._closing.wait(GATHER_S)
            group: list[_Commit] = []
            job: _Job | None = None
            ended = False
            # A job stands in line with the commits: what was handed in before it is in the file first.
            while True:
                if request is None:
                    ended = True
                    break
                if isinstance(request, _Job):
                    job = request
                    break
                group.append(request)
                if len(group) == GROUP_MAX:
                    break
                try:
                    request = self._inbox.get_nowait()
                except queue.Empty:
                    break
            has_company = any(other.device != group[0].device for other in group)
            self._commit_group(group)
            if job is not None:
                self._do(job)
            if ended:
                break
        self._connection.close()

    def _commit_group(self, group: Sequence[_Commit]) -> None:
        if not group:
            return
        try:
            level = "NORMAL" if all(request.batch.lazy for request in group) else "FULL"
            self._connection.execute(f"PRAGMA synchronous = {level}")
            with _transaction(self._connection):
                for request in group:
                    self._writes.add(self._ids[request.device], request.batch)
                self._writes.flush()
        except sqlite3.Error as error:
            self._writes = _Writes(self._connection)
            failure = JournalFailed(f"{self.path}: {error}")
            _answer([(r.done, None, failure) for r in group if r.done is not None])
        else:
            self.commits += len(group)
            self.transactions += 1
            self.syncs += level == "FULL"
            _answer([(r.done, None, None) for r in group if r.done is not None])

    def _do(self, job: _Job) -> None:
        try:
            result = job.work(self._connection)
        except sqlite3.DatabaseError as error:
            _answer([(job.done, None, JournalFailed(f"{self.path}: {error}"))])
        except JournalUnreadable as error:
            _answer([(job.done, None, error)])
        else:
            _answer([(job.done, result, None)])

    def _load(self, device: str, new_stream: str, connection: sqlite3.Connection) -> JournalState:
        with _transaction(connection):
            connection.execute(
                "INSERT INTO device (name, stream) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
                (device, new_stream),
            )
        state = _read_device(self.path, connection, device)
        self._ids[device] = _device_key(connection, device)
        return state

    def _fetch(
        self, device: str, first: int, last: int, connection: sqlite3.Connection
    ) -> Sequence[tuple[int, Report]]:
        rows = connection.execute(
            "SELECT seq, content FROM report WHERE device = ? AND seq BETWEEN ? AND ? ORDER BY seq",
            (self._ids[device], first, last),
        )
        with _readable(self.path):
            return [(seq, Report.model_validate_json(content)) for seq, content in rows]


def open_journal(path: Path) -> SqliteJournal:
    """Open a journal for writing, alone; make it when there is none.

    Raises:
        JournalUnreadable: torn, foreign, of a newer schema, or in use by another agent. Nothing is changed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _take_lock(path)
    try:
        connection = _checked(path)
    except BaseException:
        _let_go(lock)
        raise
    return SqliteJournal(path, connection, lock)


def set_aside(path: Path) -> Path:
    """Rename a journal that can't be used, with its side files, so that a new one can begin; the new name.

    Raises:
        JournalUnreadable: another agent uses it.
    """
    lock = _take_lock(path)
    try:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        aside = _free_name(path.with_name(f"{path.name}.aside-{stamp}"))
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    finally:
        _let_go(lock)
    return aside


def iterate_reports(path: Path) -> Iterator[ReportRow]:
    """Every report still held, by device and number; those without a number last. For reading only.

    Raises:
        JournalUnreadable: there is no such file, or it is torn, foreign or of a newer schema.
    """
    with contextlib.closing(_open_to_read(path)) as connection, _readable(path):
        yield from (
            ReportRow(device, stream, seq, digest, bool(acknowledged))
            for device, stream, seq, digest, acknowledged in connection.execute(
                "SELECT name, stream, seq, digest, acknowledged_ms IS NOT NULL FROM report"
                " JOIN device ON device.id = report.device ORDER BY name, seq IS NULL, seq, position"
            )
        )


def iterate_entries(
    path: Path, device: str | None = None, kinds: Collection[str] = ()
) -> Iterator[tuple[str, Entry]]:
    """Every input with its device, by device and in order; of `kinds` only those. For reading only.

    Raises:
        JournalUnreadable: there is no such file, or it is torn, foreign or of a newer schema.
    """
    with contextlib.closing(_open_to_read(path)) as connection, _readable(path):
        rows = connection.execute(
            f"SELECT name, {_entry_columns(connection)} FROM entry"  # noqa: S608
            " JOIN device ON device.id = entry.device WHERE (?1 IS NULL OR name = ?1)"
            " AND (?2 = '[]' OR json_extract(input, '$.kind') IN (SELECT value FROM json_each(?2)))"
            " ORDER BY name, n",
            (device, json.dumps(sorted(kinds))),
        )
        for name, *columns in rows:
            yield name, _entry(columns)


def devices_of(path: Path) -> list[str]:
    """The devices of a journal. For reading only; raises `JournalUnreadable`."""
    with contextlib.closing(_open_to_read(path)) as connection, _readable(path):
        return [name for (name,) in connection.execute("SELECT name FROM device ORDER BY name")]


@dataclass(frozen=True, slots=True)
class ReadInputs:
    """The inputs of one device, as far as a file that may be torn still holds them."""

    device: str
    entries: Sequence[Entry]
    """From the first one on, without a gap but for what a checkpoint makes up for."""
    missing: str = ""
    """Which ones are missing and why, as one sentence; empty when none is."""
    checkpoints: Sequence[Checkpoint] = ()
    left_out: str = ""
    """Which ones this version can't read though a checkpoint makes up for them, as one sentence."""


class JournalReader:
    """A journal file that is only looked at, however torn it is. Build it with `read_journal`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def devices(self) -> list[str]:
        """The devices by name. Raises `JournalUnreadable`."""
        with _readable(self._path):
            rows = self._connection.execute("SELECT name FROM device ORDER BY id")
            return sorted(name for (name,) in rows)

    def inputs(self, device: str) -> ReadInputs:
        """What can be read of one device. Raises `JournalUnreadable` when not even the device can."""
        with _readable(self._path):
            key = self._key(device)
        checkpoints = self._checkpoints(key)
        entries: list[Entry] = []
        left_out: list[str] = []
        n, reason = 0, ""
        try:
            for columns in _entry_rows(self._connection, key):
                if columns[0] != n + 1:
                    reason = "it is not in the file"
                    break
                try:
                    entries.append(_entry(columns))
                except ValidationError as error:
                    told = f"this version does not understand it: {_first_of(error)}"
                    if not _is_made_up_for(n + 1, checkpoints):
                        reason = told
                        break
                    left_out.append(f"Input {n + 1} can't be read ({told})")
                n += 1
        except sqlite3.DatabaseError as error:
            reason = f"the file is torn there: {error}"
        missing = reason and self._missing(key, n + 1, reason)
        return ReadInputs(device, entries, missing, checkpoints, "; ".join(left_out))

    def _checkpoints(self, key: int) -> Sequence[Checkpoint]:
        # What comes after a torn page may still be told without them.
        with contextlib.suppress(sqlite3.DatabaseError):
            return _read_checkpoints(self._connection, key)
        return ()

    def _key(self, device: str) -> int:
        # The index over the names may be torn where the table is not.
        rows = self._connection.execute("SELECT id, name FROM device ORDER BY id")
        for key, name in rows:
            if name == device:
                return int(key)
        raise _torn(self._path, f"it names no device '{device}'")

    def _missing(self, key: int, first: int, reason: str) -> str:
        last = None
        with contextlib.suppress(sqlite3.DatabaseError):
            (last,) = self._connection.execute(
                "SELECT MAX(n) FROM entry WHERE device = ?", (key,)
            ).fetchone()
        if last is None or last < first:
            return f"Input {first} and all after it can't be read ({reason})"
        which = f"Input {first}" if last == first else f"Inputs {first} to {last}"
        return f"{which} can't be read ({reason})"


@contextlib.contextmanager
def read_journal(path: Path) -> Iterator[JournalReader]:
    """Look at a journal without writing anything to it or beside it, also while an agent uses it.

    What a write-ahead log beside the file holds is read as well. A file that lost its end is read as far as it goes.

    Raises:
        JournalUnreadable: there is no such file, or it is no journal, of a newer schema, or torn where it begins.
    """
    if not path.is_file():
        raise _no_journal(path)
    with (
        tempfile.TemporaryDirectory(prefix="esp-agent-") as folder,
        contextlib.closing(_open_aside(path, Path(folder))) as connection,
    ):
        with _readable(path):
            # Without this SQLite refuses a file that is shorter than its first page says.
            connection.execute("PRAGMA writable_schema = ON")
            _check_kind(path, connection)
        yield JournalReader(path, connection)


def _open_aside(path: Path, folder: Path) -> sqlite3.Connection:
    """A connection that leaves the file and its folder as they are."""
    if _is_in_use(path):
        # The side files are there already, and only SQLite itself sees what an agent is writing as one whole.
        return _connect(path, "ro")
    log = path.with_name(f"{path.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    part_bytes = _part_bytes(path)
    if not has_log and not part_bytes:
        return _connect(path, "ro", immutable=True)
    copy = folder / path.name
    try:
        shutil.copyfile(path, copy)
        # Of a page that is there in part SQLite would read the rest as zeros, and take them for what was written.
        os.truncate(copy, copy.stat().st_size - part_bytes)
        if has_log:
            shutil.copyfile(log, copy.with_name(log.name))
    except OSError as error:
        raise JournalUnreadable(
            f"{path}: cannot be copied to {folder} ({error.strerror}); make room there, or set TMPDIR"
        ) from error
    return _connect(copy, "rw")


def _part_bytes(path: Path) -> int:
    """How much of a last page is there that is not there as a whole (https://sqlite.org/fileformat.html, 1.3.2)."""
    try:
        with path.open("rb") as file:
            named = int.from_bytes(file.read(18)[16:18], "big")
        return path.stat().st_size % (65_536 if named == 1 else max(named, 1))
    except OSError as error:
        raise JournalUnreadable(
            f"{path}: cannot be read ({error.strerror}); check who may read it"
        ) from error


def _is_in_use(path: Path) -> bool:
    """Whether an agent holds the journal now; makes no lock file where there is none."""
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR)
    except OSError:
        return False
    try:
        _hold(lock)
    except OSError:
        os.close(lock)
        return True
    _let_go(lock)
    return False


def _copy_device(path: Path, device: str, copy: Path) -> None:
    """Copy one device's rows, as they are in one read transaction, into a new file without side files."""
    try:
        with (
            contextlib.closing(_connect(path, "ro")) as source,
            contextlib.closing(_connect(copy, "rwc")) as target,
        ):
            _make(target)
            source.execute("BEGIN")
            key = _device_key(source, device)
            with _transaction(target):
                for table, column in _COPIED.items():
                    rows = source.execute(f"SELECT * FROM {table} WHERE {column} = ?", (key,))  # noqa: S608
                    places = ", ".join("?" * len(rows.description))
                    target.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608
    except sqlite3.Error as error:
        raise JournalFailed(f"{path}: {error}") from error
    except JournalUnreadable as error:
        raise JournalFailed(str(error)) from error


class _Writes:
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
            _keep_checkpoint(self._connection, key, batch.checkpoint)
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


def _read_device(path: Path, connection: sqlite3.Connection, device: str) -> JournalState:
    key = _device_key(connection, device)
    (stream, session, next_seq, next_position, stored_seq, store, held_after, chained_from) = (
        connection.execute(
            "SELECT stream, session, next_seq, next_position, stored_seq, store, held_after,"
            " chained_from FROM device WHERE id = ?",
            (key,),
        ).fetchone()
    )
    with _readable(path):
        checkpoints = _read_checkpoints(connection, key)
        entries = list(_understood(_entry_rows(connection, key), checkpoints))
        outbox = OutboxState(
            next_position=next_position,
            next_seq=next_seq,
            stored_seq=stored_seq,
            store=store,
            held_after=held_after,
            chained_from=chained_from,
            acknowledged=_acknowledged(connection, key),
            numbered=_numbered(connection, key),
            queued=_queued(connection, key),
        )
    executed = connection.execute("SELECT id FROM command WHERE device = ?", (key,))
    return JournalState(
        device=device,
        stream=stream,
        session=session,
        entries=entries,
        outbox=outbox,
        executed=frozenset(command for (command,) in executed),
        checkpoints=checkpoints,
        name=str(path),
    )


def _entry_rows(connection: sqlite3.Connection, key: int) -> Iterable[Sequence[Any]]:
    return connection.execute(
        f"SELECT {_entry_columns(connection)} FROM entry WHERE device = ? ORDER BY n",  # noqa: S608
        (key,),
    )


def _understood(
    rows: Iterable[Sequence[Any]], checkpoints: Sequence[Checkpoint]
) -> Iterator[Entry]:
    """The inputs, without those that this version can't read and that a checkpoint makes up for."""
    for columns in rows:
        try:
            yield _entry(columns)
        except ValidationError:
            if not _is_made_up_for(columns[0], checkpoints):
                raise


def _is_made_up_for(n: int, checkpoints: Sequence[Checkpoint]) -> bool:
    return any(n <= checkpoint.n for checkpoint in checkpoints)


def _keep_checkpoint(connection: sqlite3.Connection, key: int, checkpoint: Checkpoint) -> None:
    connection.execute(
        "INSERT INTO checkpoint VALUES (?, ?, ?)",
        (key, checkpoint.n, zlib.compress(checkpoint.content)),
    )
    connection.execute(
        "DELETE FROM checkpoint WHERE device = ?1 AND n NOT IN"
        " (SELECT n FROM checkpoint WHERE device = ?1 ORDER BY n DESC LIMIT ?2)",
        (key, CHECKPOINTS_KEPT),
    )


def _read_checkpoints(connection: sqlite3.Connection, key: int) -> Sequence[Checkpoint]:
    """The newest first; a file of an older schema, which is only read, has none."""
    if _pragma(connection, "user_version") < SCHEMA_WITH_CHECKPOINTS:
        return ()
    rows = connection.execute(
        "SELECT n, content FROM checkpoint WHERE device = ? ORDER BY n DESC", (key,)
    )
    return [Checkpoint(n, _inflated(content)) for n, content in rows]


def _inflated(content: bytes) -> bytes:
    """What was kept; nothing, which no version takes for a checkpoint, when it is damaged."""
    try:
        return zlib.decompressobj().decompress(content, CHECKPOINT_BYTES_MAX)
    except zlib.error:
        return b""


def _entry(columns: Sequence[Any]) -> Entry:
    n, at_ms, wall_ms, machine_version, content, digest = columns
    return Entry(n, at_ms, wall_ms, machine_version, EVENT_CODEC.loads(content), digest)


def _entry_columns(connection: sqlite3.Connection) -> str:
    """The columns of an input; a file of the first schema, which is only read, has no digests."""
    digest = "digest" if _pragma(connection, "user_version") > 1 else "NULL"
    return f"n, at_ms, wall_ms, machine_version, input, {digest}"


def _acknowledged(connection: sqlite3.Connection, key: int) -> Sequence[Acknowledged]:
    rows = connection.execute(
        "SELECT seq, LENGTH(content), acknowledged_ms, digest FROM report"
        " WHERE device = ? AND acknowledged_ms IS NOT NULL ORDER BY seq",
        (key,),
    )
    return [Acknowledged(*row) for row in rows]


def _numbered(connection: sqlite3.Connection, key: int) -> Sequence[Numbered]:
    rows = connection.execute(
        "SELECT position, seq, content, digest FROM report"
        " WHERE device = ? AND seq IS NOT NULL AND acknowledged_ms IS NULL ORDER BY seq",
        (key,),
    )
    return [
        Numbered(position, seq, Report.model_validate_json(content), digest)
        for position, seq, content, digest in rows
    ]


def _queued(connection: sqlite3.Connection, key: int) -> Sequence[tuple[int, Report]]:
    rows = connection.execute(
        "SELECT position, content FROM report WHERE device = ? AND seq IS NULL ORDER BY position",
        (key,),
    )
    return [(position, Report.model_validate_json(content)) for position, content in rows]


def _device_key(connection: sqlite3.Connection, device: str) -> int:
    row = connection.execute("SELECT id FROM device WHERE name = ?", (device,)).fetchone()
    return int(row[0])


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A commit that failed for want of room may have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_RIGHTS: Final = "let this account write the file and its folder, then start again"
_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "make room on the disk, then start again",
    sqlite3.SQLITE_READONLY: _RIGHTS,
    sqlite3.SQLITE_PERM: _RIGHTS,
    sqlite3.SQLITE_CANTOPEN: _RIGHTS,
    sqlite3.SQLITE_BUSY: "close the other program that uses the file, then start again",
}
"""What helps where the file itself may be as good as ever."""


def _kind_of(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 for what Python's own module refuses."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        remedy = _REMEDIES.get(_kind_of(error))
        if remedy is None:
            raise _torn(path, str(error)) from error
        raise JournalUnreadable(f"{path}: can't be used now ({error}); {remedy}") from error
    except ValidationError as error:
        raise _torn(path, f"an entry can't be read ({_first_of(error)})") from error


def _first_of(error: ValidationError) -> str:
    return error.errors(include_url=False, include_input=False)[0]["msg"]


def _answer(results: Sequence[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    """Resolve futures from the writer's thread: one call into each loop, whatever their number."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Any]] = {}
    for result in results:
        by_loop.setdefault(result[0].get_loop(), []).append(result)
    for loop, answers in by_loop.items():
        # The loop of an agent that was torn down takes no more answers, and nobody waits for them.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    for done, result, failure in answers:
        if done.done():
            continue
        if failure is None:
            done.set_result(result)
        else:
            done.set_exception(failure)


def _checked(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "rwc")
    try:
        with _readable(path):
            if _is_empty(connection):
                _make(connection)
            _check(path, connection)
            _migrate(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        _keep_private(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _keep_private(path: Path) -> None:
    try:
        path.chmod(0o600)
    except OSError as error:
        raise JournalUnreadable(
            f"{path}: can't be used now ({error.strerror}); {_RIGHTS}"
        ) from error


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise _no_journal(path)
    connection = _connect(path, "ro")
    try:
        with _readable(path):
            _check(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _no_journal(path: Path) -> JournalUnreadable:
    return JournalUnreadable(
        f"{path}: there is no such journal; name the file that the agent writes"
    )


def _connect(path: Path, mode: str, *, immutable: bool = False) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise JournalUnreadable(
            f"{path}: cannot be opened ({error}); check that the folder exists and may be written"
        ) from error


def _is_empty(connection: sqlite3.Connection) -> bool:
    (count,) = connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    return int(count) == 0 and _pragma(connection, "application_id") == 0


def _make(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        for statement in (*_SCHEMA.split(";"), _CHECKPOINTS):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring a file of an older schema to this one, in one transaction."""
    version = _pragma(connection, "user_version")
    if version == SCHEMA_VERSION:
        return
    with _transaction(connection):
        for step in range(version, SCHEMA_VERSION):
            for statement in _MIGRATIONS[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    _check_kind(path, connection)
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _torn(path, verdict)


def _check_kind(path: Path, connection: sqlite3.Connection) -> None:
    """Whether it is a journal at all, and one that this agent knows."""
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise JournalUnreadable(
            f"{path}: this is no journal of this agent; name another file, or move this one away"
        )
    version = _pragma(connection, "user_version")
    if version > SCHEMA_VERSION:
        raise JournalUnreadable(
            f"{path}: written by a newer agent (schema {version}, this agent knows {SCHEMA_VERSION}); "
            "use that agent, or begin anew with --set-aside, which keeps the file"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _torn(path: Path, reason: str) -> JournalUnreadable:
    return JournalUnreadable(
        f"{path}: torn or no journal at all ({reason}); nothing was changed. "
        "Restore it from a copy, or begin anew with --set-aside, which keeps the file"
    )


def _take_lock(path: Path) -> int:
    """Hold the lock file beside the journal; the system lets it go when the process ends, however it ends."""
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalUnreadable(
            f"{path}: cannot be locked ({error.strerror}); check that its folder may be written"
        ) from error
    try:
        _hold(lock)
    except OSError as error:
        os.close(lock)
        raise JournalUnreadable(
            f"{path}: in use by another agent; stop that one first, or name another --state-dir"
        ) from error
    return lock


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
