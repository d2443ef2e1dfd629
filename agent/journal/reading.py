"""Looks at a journal without changing anything, however torn it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from agent.core.batch import Checkpoint, Entry
from agent.journal.file import (
    check_kind,
    connect,
    first_of,
    no_journal,
    open_to_read,
    readable,
    torn,
)
from agent.journal.lock import is_in_use
from agent.journal.rows import entry, entry_columns, entry_rows, is_made_up_for, read_checkpoints
from agent.runtime.ports import (
    JournalUnreadable,
)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One report as an audit compares it."""

    device: str
    stream: str
    seq: int | None
    """None while it waits for a number."""
    digest: str | None
    acknowledged: bool


def iterate_reports(path: Path) -> Iterator[ReportRow]:
    """Every report still held, by device and number; those without a number last. For reading only.

    Raises:
        JournalUnreadable: there is no such file, or it is torn, foreign or of a newer schema.
    """
    with contextlib.closing(open_to_read(path)) as connection, readable(path):
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
    with contextlib.closing(open_to_read(path)) as connection, readable(path):
        rows = connection.execute(
            f"SELECT name, {entry_columns(connection)} FROM entry"  # noqa: S608
            " JOIN device ON device.id = entry.device WHERE (?1 IS NULL OR name = ?1)"
            " AND (?2 = '[]' OR json_extract(input, '$.kind') IN (SELECT value FROM json_each(?2)))"
            " ORDER BY name, n",
            (device, json.dumps(sorted(kinds))),
        )
        for name, *columns in rows:
            yield name, entry(columns)


def devices_of(path: Path) -> list[str]:
    """The devices of a journal. For reading only; raises `JournalUnreadable`."""
    with contextlib.closing(open_to_read(path)) as connection, readable(path):
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
        with readable(self._path):
            rows = self._connection.execute("SELECT name FROM device ORDER BY id")
            return sorted(name for (name,) in rows)

    def inputs(self, device: str) -> ReadInputs:
        """What can be read of one device. Raises `JournalUnreadable` when not even the device can."""
        with readable(self._path):
            key = self._key(device)
        checkpoints = self._checkpoints(key)
        entries: list[Entry] = []
        left_out: list[str] = []
        n, reason = 0, ""
        try:
            for columns in entry_rows(self._connection, key):
                if columns[0] != n + 1:
                    reason = "it is not in the file"
                    break
                try:
                    entries.append(entry(columns))
                except ValidationError as error:
                    told = f"this version does not understand it: {first_of(error)}"
                    if not is_made_up_for(n + 1, checkpoints):
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
            return read_checkpoints(self._connection, key)
        return ()

    def _key(self, device: str) -> int:
        # The index over the names may be torn where the table is not.
        rows = self._connection.execute("SELECT id, name FROM device ORDER BY id")
        for key, name in rows:
            if name == device:
                return int(key)
        raise torn(self._path, f"it names no device '{device}'")

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
        raise no_journal(path)
    with (
        tempfile.TemporaryDirectory(prefix="esp-agent-") as folder,
        contextlib.closing(_open_aside(path, Path(folder))) as connection,
    ):
        with readable(path):
            # Without this SQLite refuses a file that is shorter than its first page says.
            connection.execute("PRAGMA writable_schema = ON")
            check_kind(path, connection)
        yield JournalReader(path, connection)


def _open_aside(path: Path, folder: Path) -> sqlite3.Connection:
    """A connection that leaves the file and its folder as they are."""
    if is_in_use(path):
        # The side files are there already, and only SQLite itself sees what an agent is writing as one whole.
        return connect(path, "ro")
    log = path.with_name(f"{path.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    part_bytes = _part_bytes(path)
    if not has_log and not part_bytes:
        return connect(path, "ro", immutable=True)
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
    return connect(copy, "rw")


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
